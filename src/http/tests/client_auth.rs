//! Mutual TLS: who is let in, and that everyone else sees alert 40 and no answer (inventory 10, peer fault 10).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::DnValue;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rustls::AlertDescription;
use tokio::io::AsyncWriteExt;

use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::http::ClientRefusal;
use crate::http::HandshakeFailure;
use crate::http::TlsSettings;
use crate::http::TlsSwitch;
use crate::http::tests::support::Event;
use crate::http::tests::support::Identity;
use crate::http::tests::support::Pki;
use crate::http::tests::support::Site;
use crate::http::tests::support::authority_params;
use crate::http::tests::support::client_params;
use crate::http::tests::support::curl;
use crate::http::tests::support::limits;
use crate::http::tests::support::load;
use crate::http::tests::support::read_to_end;
use crate::http::tests::tls_client::Choice;
use crate::http::tests::tls_client::TlsClient;
use crate::http::tests::tls_client::VERSIONS;
use crate::http::tests::tls_client::alert;

/// As AWS KMS names itself, once for each Region.
const KMS: &str = "cks.kms.us-east-1.amazonaws.com";
const KMS_ELSEWHERE: &str = "cks.kms.eu-west-1.amazonaws.com";
const STRANGER: &str = "evil.example";

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn with_common_names(first: impl Into<DnValue>, second: Option<&str>) -> CertificateParams {
    let mut params = client_params(None, &[KMS]);
    params.distinguished_name.push(DnType::CommonName, first);
    if let Some(second) = second {
        // rcgen keeps one value a type: the same type by its number is another to it.
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), second);
    }
    params
}

fn utf16(name: &str) -> DnValue {
    DnValue::BmpString(name.try_into().unwrap())
}

fn accepted(pki: &Pki) -> Vec<(&'static str, Identity)> {
    let issue = |file, params: CertificateParams| (file, pki.issue(file, &params, key()));
    vec![
        issue("right-name", client_params(Some(KMS), &[])),
        issue("other-region", client_params(Some(KMS_ELSEWHERE), &[])),
        issue("other-case", client_params(Some(&KMS.to_uppercase()), &[])),
        issue("right-name-other-san", client_params(Some(KMS), &[STRANGER])),
        issue("two-right-names", with_common_names(KMS, Some(KMS_ELSEWHERE))),
        issue("no-name-right-san", client_params(None, &[STRANGER, KMS])),
    ]
}

fn dated(not_before: i32, not_after: i32) -> CertificateParams {
    let mut params = client_params(Some(KMS), &[]);
    params.not_before = rcgen::date_time_ymd(not_before, 1, 1);
    params.not_after = rcgen::date_time_ymd(not_after, 1, 1);
    params
}

/// Each differs from an accepted one in one property.
fn refused(pki: &Pki) -> Vec<(ClientRefusal, &'static str, Identity)> {
    let issue = |refusal, file, params: CertificateParams| (refusal, file, pki.issue(file, &params, key()));
    let mut server_only = client_params(Some(KMS), &[]);
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut list = vec![
        issue(ClientRefusal::Subject, "wrong-name-right-san", client_params(Some(STRANGER), &[KMS])),
        issue(
            ClientRefusal::Subject,
            "longer-name",
            client_params(Some(&format!("{KMS}.evil.example")), &[]),
        ),
        issue(ClientRefusal::Subject, "no-name-wrong-san", client_params(None, &[STRANGER])),
        issue(ClientRefusal::Subject, "no-name-at-all", client_params(None, &[])),
        issue(ClientRefusal::Subject, "stranger-second", with_common_names(KMS, Some(STRANGER))),
        issue(ClientRefusal::Subject, "stranger-first", with_common_names(STRANGER, Some(KMS))),
        issue(ClientRefusal::Subject, "unreadable-name-right-san", with_common_names(utf16(KMS), None)),
        issue(ClientRefusal::Expired, "expired", dated(2019, 2020)),
        issue(ClientRefusal::NotYetValid, "not-yet-valid", dated(2090, 2091)),
        issue(ClientRefusal::Unfit, "authority", authority_params(KMS)),
        issue(ClientRefusal::Unfit, "server-only", server_only),
        (ClientRefusal::Unfit, "version-1", version_1(pki)),
    ];
    let right = client_params(Some(KMS), &[]);
    let (leaf_key, authority_key) = (key(), key());
    let self_signed = right.self_signed(&leaf_key).unwrap().pem();
    let self_signed = pki.write("self-signed", &self_signed, &leaf_key.serialize_pem());
    list.push((ClientRefusal::UnknownIssuer, "self-signed", self_signed));
    let self_signed = authority_params(KMS).self_signed(&authority_key).unwrap().pem();
    let self_signed = pki.write("self-signed-authority", &self_signed, &authority_key.serialize_pem());
    list.push((ClientRefusal::Unfit, "self-signed-authority", self_signed));
    for (file, name) in [("other-issuer", "Another CA"), ("namesake-issuer", "Test CA")] {
        let issuer = CertifiedIssuer::self_signed(authority_params(name), key()).unwrap();
        let leaf_key = key();
        let leaf = right.signed_by(&leaf_key, &issuer).unwrap().pem();
        list.push((ClientRefusal::UnknownIssuer, file, pki.write(file, &leaf, &leaf_key.serialize_pem())));
    }
    list
}

/// What a plain `openssl x509 -req` makes: right issuer, right name, no extensions.
fn version_1(pki: &Pki) -> Identity {
    let path = |file: &str| pki.folder.path().join(file).display().to_string();
    std::fs::write(path("ca-key.pem"), pki.authority.key().serialize_pem()).unwrap();
    let script = format!(
        "set -e; openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN={KMS}' \
         -keyout '{key}' -out '{request}'; openssl x509 -req -in '{request}' -CA '{ca}' -CAkey '{ca_key}' \
         -CAcreateserial -days 30 -out '{certificate}'",
        key = path("version-1-key.pem"),
        request = path("version-1.csr"),
        ca = path("ca.pem"),
        ca_key = path("ca-key.pem"),
        certificate = path("version-1.pem"),
    );
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Identity { certificate_file: path("version-1.pem").into(), key_file: path("version-1-key.pem").into() }
}

#[tokio::test]
async fn the_right_subject_of_the_right_issuer_is_let_in() {
    let pki = Pki::new();
    let site = Site::tls(&pki.mutual_tls_files(&[KMS, KMS_ELSEWHERE]));
    for version in VERSIONS {
        for (what, identity) in accepted(&pki) {
            let choice = Choice { version: Some(version), identity: Some(&identity), ..Choice::default() };
            let answer = TlsClient::new(&pki, &choice).get(&site, "/facts").await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{what}: {answer}");
        }
    }
    let (_, identity) = accepted(&pki).remove(0);
    let choice = Choice { identity: Some(&identity), ..Choice::default() };
    let answer = TlsClient::new(&pki, &choice).get(&site, "/facts").await.unwrap();
    assert!(answer.contains(&format!("client_subject: Some({KMS:?})")), "{answer}");
}

#[tokio::test]
async fn everyone_else_gets_alert_40_and_the_reason_is_counted() {
    let pki = Pki::new();
    let files = pki.mutual_tls_files(&[KMS, KMS_ELSEWHERE]);
    for version in VERSIONS {
        for (refusal, what, identity) in refused(&pki) {
            let site = Site::tls(&files);
            let choice = Choice { version: Some(version), identity: Some(&identity), ..Choice::default() };
            let error = TlsClient::new(&pki, &choice).get(&site, "/facts").await.unwrap_err();
            assert_eq!(alert(&error), Some(AlertDescription::HandshakeFailure), "{what}: {error}");
            let failed = Event::HandshakeFailed(HandshakeFailure::ClientCertificate(refusal));
            site.recorder.saw(Event::Closed).await;
            assert_eq!(site.recorder.events(), [Event::Opened, failed, Event::Closed], "{what}");
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let pki = Pki::new();
    for version in VERSIONS {
        let site = Site::tls(&pki.mutual_tls_files(&[KMS]));
        let choice = Choice { version: Some(version), ..Choice::default() };
        let error = TlsClient::new(&pki, &choice).get(&site, "/facts").await.unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::CertificateRequired));
        let absent = HandshakeFailure::ClientCertificate(ClientRefusal::Absent);
        site.recorder.saw(Event::HandshakeFailed(absent)).await;
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let pki = Pki::new();
    for version in VERSIONS {
        let site = Site::tls(&pki.mutual_tls_files(&[KMS]));
        let thief = Identity { key_file: pki.client(STRANGER).key_file, ..pki.client(KMS) };
        let choice = Choice { version: Some(version), identity: Some(&thief), ..Choice::default() };
        let error = TlsClient::new(&pki, &choice).get(&site, "/facts").await.unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::HandshakeFailure));
        let failed = HandshakeFailure::ClientCertificate(ClientRefusal::Signature);
        site.recorder.saw(Event::HandshakeFailed(failed)).await;
    }
}

/// The official client's test looks for these words in what curl prints.
#[tokio::test]
async fn curl_names_the_handshake_failure_and_gets_no_answer() {
    let pki = Pki::new();
    let site = Site::tls(&pki.mutual_tls_files(&[KMS]));
    let (ca_file, url) = (pki.ca_file(), site.url("/echo"));
    let run = async |identity: &Identity, version: &str| {
        let certificate = identity.certificate_file.to_str().unwrap();
        let key = identity.key_file.to_str().unwrap();
        let ca_file = ca_file.to_str().unwrap();
        curl(&[
            "--cacert",
            ca_file,
            "--cert",
            certificate,
            "--key",
            key,
            "--tls-max",
            version,
            "-d",
            "x",
            &url,
        ])
        .await
    };
    for version in ["1.2", "1.3"] {
        for (_, what, identity) in refused(&pki) {
            let output = run(&identity, version).await;
            assert!(output.contains("alert handshake failure"), "{what}, TLS {version}: {output}");
            assert!(!output.contains("< HTTP/"), "{what}, TLS {version}: {output}");
        }
        let output = run(&pki.client(KMS), version).await;
        assert!(output.contains("< HTTP/2 200"), "{output}");
    }
}

/// The request is on its way before a TLS 1.3 client can read the refusal; a large one must not turn it into a reset.
#[tokio::test]
async fn a_refused_client_that_sends_at_once_still_reads_the_alert() {
    let pki = Pki::new();
    let site = Site::tls(&pki.mutual_tls_files(&[KMS]));
    let stranger = pki.client(STRANGER);
    let choice = Choice { identity: Some(&stranger), ..Choice::default() };
    let mut stream = TlsClient::new(&pki, &choice).connect(&site).await.unwrap();
    stream.write_all(&vec![b'x'; 100_000]).await.unwrap();
    let error = read_to_end(&mut stream).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::HandshakeFailure));
}

#[tokio::test]
async fn a_session_with_a_certificate_is_resumed_until_its_authority_is_removed() {
    let pki = Pki::new();
    let files = pki.mutual_tls_files(&[KMS]);
    let kms = pki.client(KMS);
    for version in VERSIONS {
        let site = Site::tls(&files);
        let choice = Choice { version: Some(version), identity: Some(&kms), ..Choice::default() };
        let client = TlsClient::new(&pki, &choice);
        client.get(&site, "/").await.unwrap();
        let answer = client.get(&site, "/facts").await.unwrap();
        assert!(answer.contains(&format!("client_subject: Some({KMS:?}), is_resumed: true")), "{answer}");

        let elsewhere = Pki::new();
        let mut replaced = files.clone();
        replaced.client_auth.as_mut().unwrap().ca_file = elsewhere.ca_file();
        site.tls.as_ref().unwrap().replace(load(&replaced));
        let error = client.get(&site, "/").await.unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::HandshakeFailure));
        let failed = HandshakeFailure::ClientCertificate(ClientRefusal::UnknownIssuer);
        site.recorder.saw(Event::HandshakeFailed(failed)).await;
    }
}

/// Today, and later when told.
#[derive(Default)]
struct MovableClock {
    seconds_ahead: AtomicU64,
}

impl Clock for MovableClock {
    fn now(&self) -> SystemTime {
        SystemClock.now() + Duration::from_secs(self.seconds_ahead.load(Ordering::Relaxed))
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_its_certificate() {
    let pki = Pki::new();
    let mut params = client_params(Some(KMS), &[]);
    params.not_after = (SystemClock.now() + Duration::from_secs(3600)).into();
    let kms = pki.issue("an-hour", &params, key());
    for version in VERSIONS {
        let clock = Arc::new(MovableClock::default());
        let settings = TlsSettings::load(&pki.mutual_tls_files(&[KMS]), clock.clone()).unwrap();
        let site = Site::start(Some(Arc::new(TlsSwitch::new(settings))), limits());
        let choice = Choice { version: Some(version), identity: Some(&kms), ..Choice::default() };
        let client = TlsClient::new(&pki, &choice);
        client.get(&site, "/").await.unwrap();
        clock.seconds_ahead.store(3601, Ordering::Relaxed);
        assert!(!client.get(&site, "/").await.is_ok_and(|answer| answer.contains("HTTP")));
        let failed = HandshakeFailure::ClientCertificate(ClientRefusal::Expired);
        site.recorder.saw(Event::HandshakeFailed(failed)).await;
    }
}
