//! The whole table of exceptions and texts, compared with a file that a reviewer reads beside the specification.

use std::fmt::Write as _;
use std::path::Path;

use proxy_api::error::ErrorName;

use crate::domain::kms::{ConnectionState, CustomKeyStoreType, KeyStoreConflict};
use crate::gate::kms::{ClusterRefused, KeyStoreRefused, ProxyUse, VpcEndpointServiceRefused};
use crate::key_manager::HsmError;
use crate::key_manager::cluster::ClusterError;
use crate::key_manager::xks_proxy::ProxyFailure;
use crate::kms::error::Error;

const USES: [ProxyUse; 3] = [ProxyUse::Management, ProxyUse::CreateKey, ProxyUse::Cryptography];

fn failures() -> Vec<ProxyFailure> {
    let mut failures: Vec<_> =
        ErrorName::ALL.into_iter().map(|error| ProxyFailure::Refused { error, message: None }).collect();
    failures.extend([
        ProxyFailure::AnswerTimedOut,
        ProxyFailure::Malformed(String::new()),
        ProxyFailure::Tls(String::new()),
        ProxyFailure::Unreachable(String::new()),
    ]);
    failures
}

fn others() -> Vec<KeyStoreRefused> {
    let text = || "<text>".to_owned();
    let hsm_errors = [
        HsmError::BadCiphertext,
        HsmError::Busy,
        HsmError::DeadlineExceeded,
        HsmError::Device(text()),
        HsmError::KeyMissing,
        HsmError::Unavailable(text()),
    ];
    let mut all: Vec<_> =
        hsm_errors.into_iter().map(|error| KeyStoreRefused::Cluster(ClusterRefused::Use(error))).collect();
    all.extend(
        [
            ClusterRefused::Error(ClusterError::NotLoggedIn),
            ClusterRefused::Error(ClusterError::TooFewHsms { active: 1 }),
            ClusterRefused::Error(ClusterError::UserLockedOut),
            ClusterRefused::LockedOut,
            ClusterRefused::NoActiveHsm,
            ClusterRefused::NotFound { cluster_id: text() },
            ClusterRefused::NotRelated { cluster_id: text() },
            ClusterRefused::TrustAnchor,
        ]
        .map(KeyStoreRefused::Cluster),
    );
    all.extend(
        [
            KeyStoreConflict::Cluster,
            KeyStoreConflict::Name,
            KeyStoreConflict::Uri,
            KeyStoreConflict::UriEndpoint,
            KeyStoreConflict::VpcEndpointService,
        ]
        .map(KeyStoreRefused::Conflict),
    );
    all.extend(ConnectionState::ALL.iter().copied().map(KeyStoreRefused::InvalidState));
    all.extend(USES.map(|while_| KeyStoreRefused::NotConnected { while_ }));
    all.extend([
        KeyStoreRefused::ClusterNotConnected,
        KeyStoreRefused::HasKeys,
        KeyStoreRefused::InnerLayer,
        KeyStoreRefused::Missing { named: text() },
        KeyStoreRefused::Parameters("<text>"),
        KeyStoreRefused::ProxyUnhealthy,
        KeyStoreRefused::Throttled,
        KeyStoreRefused::OtherType(CustomKeyStoreType::AwsCloudHsm),
        KeyStoreRefused::VpcEndpointService(VpcEndpointServiceRefused::InvalidConfiguration(text())),
        KeyStoreRefused::VpcEndpointService(VpcEndpointServiceRefused::NotFound { name: text() }),
        KeyStoreRefused::XksKeyInUse,
        KeyStoreRefused::XksKeyNotEnabled,
        KeyStoreRefused::XksKeySpec { spec: "AES_128".to_owned() },
        KeyStoreRefused::XksKeyUsage { usage: "ENCRYPT".to_owned() },
    ]);
    all
}

fn row(out: &mut String, name: &str, error: &Error) {
    let wire = error.wire();
    writeln!(out, "{name}\n    {} {} {}", wire.status.as_u16(), wire.name, wire.message).unwrap();
}

#[test]
fn the_table_of_exceptions_is_the_one_that_was_reviewed() {
    let mut table = String::new();
    for failure in failures() {
        for while_ in USES {
            let name = match &failure {
                ProxyFailure::Refused { error, .. } => error.wire().1.to_owned(),
                ProxyFailure::AnswerTimedOut
                | ProxyFailure::Malformed(_)
                | ProxyFailure::Tls(_)
                | ProxyFailure::Unreachable(_) => format!("{failure:?}"),
            };
            let error = KeyStoreRefused::Proxy { while_, failure: failure.clone() }.into();
            row(&mut table, &format!("{while_:?}: {name}"), &error);
        }
    }
    for refused in others() {
        row(&mut table, &format!("{refused:?}"), &refused.into());
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/key_store_errors.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(golden).unwrap(), "UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn what_a_proxy_says_itself_is_for_the_log_only() {
    let failure =
        ProxyFailure::Refused { error: ErrorName::Internal, message: Some("slot 7 of hsm-3".to_owned()) };
    for while_ in USES {
        let error = Error::from(KeyStoreRefused::Proxy { while_, failure: failure.clone() });
        assert!(!error.wire().message.contains("hsm-3"));
        assert!(error.reason().contains("hsm-3"));
    }
}
