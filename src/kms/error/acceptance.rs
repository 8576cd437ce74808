//! The acceptance matrix: what keys of every kind do and what they refuse, in which words, as a file that a reviewer can
//! read and that a test asks a running daemon for (AWS KMS Developer Guide, Key type reference).

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the kinds that it is about, and the rest is one"
)]

use std::fmt::Write as _;
use std::path::Path;

use crate::domain::kms::{
    AccountId, Algorithm, CustomKeyStoreId, EncapsulationAlgorithm, EncryptionAlgorithm, Key, KeyAction,
    KeyAgreementAlgorithm, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage, MacAlgorithm, MultiRegionKeyType,
    Origin, Region, Scope, SigningAlgorithm, UnixMillis, XksKeyId, check_algorithm, check_capability,
};
use crate::gate::kms::Refused;
use crate::kms::error::Error;

const FEATURES: [&str; 6] =
    ["single-Region", "multi-Region primary", "multi-Region replica", "imported", "CloudHSM", "external"];

/// A key of a kind with a feature; none if there is no such key.
fn key(spec: KeySpec, usage: KeyUsage, feature: &str) -> Option<Key> {
    let is_symmetric = spec == KeySpec::SymmetricDefault;
    let store = CustomKeyStoreId::parse("cks-0123456789abcdef0")?;
    let (origin, place) = match feature {
        "CloudHSM" if is_symmetric => (Origin::AwsCloudHsm, KeyPlace::CloudHsm { store }),
        "external" if is_symmetric => {
            let xks_key_id = XksKeyId::parse("key")?;
            (Origin::ExternalKeyStore, KeyPlace::External { store, xks_key_id })
        }
        "CloudHSM" | "external" => return None,
        "imported" if spec.is_importable() => (Origin::External, KeyPlace::Default),
        "imported" => return None,
        _ => (Origin::AwsKms, KeyPlace::Default),
    };
    let multi_region = match feature {
        "multi-Region primary" => Some(MultiRegionKeyType::Primary),
        "multi-Region replica" => Some(MultiRegionKeyType::Replica),
        _ => None,
    };
    Some(Key {
        scope: Scope {
            account: AccountId::parse("123456789012").unwrap(),
            region: Region::parse("us-east-1").unwrap(),
        },
        id: KeyId::from_random([7; 16], multi_region.is_some()),
        revision: 1,
        created: UnixMillis(0),
        description: String::new(),
        spec,
        usage,
        origin,
        place,
        multi_region,
        state: KeyState::Enabled,
        deletion: None,
        rotation: None,
        policy: "".into(),
        tags: Vec::new(),
        aliases: Vec::new(),
        materials: Vec::new(),
    })
}

/// Every algorithm that a request for an action can name; nothing if it names none.
fn algorithms(action: KeyAction) -> Vec<Option<Algorithm>> {
    let all = match action {
        KeyAction::Decrypt | KeyAction::Encrypt | KeyAction::ReEncryptFrom | KeyAction::ReEncryptTo => {
            EncryptionAlgorithm::ALL.iter().copied().map(Algorithm::Encryption).collect()
        }
        KeyAction::Sign | KeyAction::Verify => {
            SigningAlgorithm::ALL.iter().copied().map(Algorithm::Signing).collect()
        }
        KeyAction::GenerateMac | KeyAction::VerifyMac => {
            MacAlgorithm::ALL.iter().copied().map(Algorithm::Mac).collect()
        }
        KeyAction::DeriveSharedSecret => {
            KeyAgreementAlgorithm::ALL.iter().copied().map(Algorithm::KeyAgreement).collect()
        }
        KeyAction::Decapsulate | KeyAction::Encapsulate => {
            EncapsulationAlgorithm::ALL.iter().copied().map(Algorithm::Encapsulation).collect()
        }
        _ => Vec::new(),
    };
    if all.is_empty() { vec![None] } else { all.into_iter().map(Some).collect() }
}

/// `served`, or the exception with its text; what follows from key and request is in braces.
fn outcome(key: &Key, action: KeyAction, algorithm: Option<Algorithm>) -> String {
    let checked = check_capability(key, action)
        .and_then(|()| algorithm.map_or(Ok(()), |algorithm| check_algorithm(key, algorithm)));
    let Err(refusal) = checked else { return "served".to_owned() };
    let wire = Error::from(Refused::Capability { arn: "{arn}".to_owned(), refusal }).wire();
    let mut text = wire.message.replace(&format!("valid for {action}."), "valid for {action}.");
    if let Some(algorithm) = algorithm {
        text = text.replace(&format!("Algorithm {} is", algorithm.as_str()), "Algorithm {algorithm} is");
    }
    format!("{} {text}", wire.name).trim_end().to_owned()
}

/// What becomes of an action with each of its algorithms, or with all.
fn cells(key: &Key, action: KeyAction) -> Vec<(String, String)> {
    let name = |algorithm: Option<Algorithm>| {
        algorithm.map_or_else(|| action.to_string(), |algorithm| format!("{action}/{}", algorithm.as_str()))
    };
    let algorithms = algorithms(action);
    let cell = |algorithm: &Option<Algorithm>| (name(*algorithm), outcome(key, action, *algorithm));
    let cells: Vec<_> = algorithms.iter().map(cell).collect();
    let first = cells[0].1.clone();
    if cells.len() > 1 && cells.iter().all(|(_, outcome)| *outcome == first) {
        return vec![(format!("{action}/*"), first)];
    }
    cells
}

fn matrix() -> String {
    let mut out = String::new();
    for feature in FEATURES {
        for spec in KeySpec::ALL.iter().copied().filter(|spec| *spec != KeySpec::Sm2) {
            for usage in KeyUsage::ALL.iter().copied().filter(|usage| spec.permits(*usage)) {
                let Some(key) = key(spec, usage, feature) else { continue };
                writeln!(out, "{spec} {usage} {feature}").unwrap();
                let mut outcomes: Vec<(String, Vec<String>)> = Vec::new();
                for (name, outcome) in KeyAction::ALL.iter().flat_map(|action| cells(&key, *action)) {
                    match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
                        Some((_, names)) => names.push(name),
                        None => outcomes.push((outcome, vec![name])),
                    }
                }
                outcomes.sort();
                for (outcome, names) in outcomes {
                    writeln!(out, "  {outcome}\n    {}", names.join(" ")).unwrap();
                }
            }
        }
    }
    out
}

/// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
#[test]
fn the_acceptance_matrix_is_the_golden_one() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/acceptance_matrix.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, matrix()).unwrap();
    }
    assert_eq!(matrix(), std::fs::read_to_string(golden).unwrap());
}
