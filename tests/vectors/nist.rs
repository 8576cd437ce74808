//! NIST: what is in `nist/`.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use holdfast::domain::kms::{KeySpec, SigningAlgorithm};
use holdfast::key_manager::software;
use holdfast::public_key::hashing::hashed;
use holdfast::public_key::signature::{Signed, Signer};
use holdfast::public_key::spki;
use holdfast::secret::SecretBytes;
use serde_json::Value;
use shake::Shake256;
use shake::digest::{ExtendableOutput, Update, XofReader};

fn cases(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/nist").join(name);
    let mut read: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let Value::Array(cases) = read["cases"].take() else { panic!("{name} has no cases") };
    cases
}

fn hex(case: &Value, member: &str) -> Vec<u8> {
    let text = case[member].as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.chunks(2).map(byte).collect()
}

fn spec(case: &Value) -> KeySpec {
    match case["parameterSet"].as_str().unwrap() {
        "ML-DSA-44" => KeySpec::MlDsa44,
        "ML-DSA-65" => KeySpec::MlDsa65,
        "ML-DSA-87" => KeySpec::MlDsa87,
        "ML-KEM-512" => KeySpec::MlKem512,
        "ML-KEM-768" => KeySpec::MlKem768,
        "ML-KEM-1024" => KeySpec::MlKem1024,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn assert_key(case: &Value, seed: Vec<u8>, expected: &[u8]) {
    let spec = spec(case);
    let public_key = software::public_key(spec, &SecretBytes::new(seed)).unwrap();
    let raw = spki::raw_of(spec, &public_key).unwrap();
    assert_eq!(digest(&SHA256, raw).as_ref(), expected, "{spec} {}", case["tcId"]);
}

#[test]
fn ml_dsa_key_gen() {
    let cases = cases("ml_dsa_key_gen.json");
    assert_eq!(cases.len(), 75);
    for case in cases {
        assert_key(&case, hex(&case, "seed"), &hex(&case, "pk_sha256"));
    }
}

/// The seed of a key is d and z (FIPS 203, 7.1).
#[test]
fn ml_kem_key_gen() {
    let cases = cases("ml_kem_key_gen.json");
    assert_eq!(cases.len(), 75);
    for case in cases {
        let seed = [hex(&case, "d"), hex(&case, "z")].concat();
        assert_key(&case, seed, &hex(&case, "ek_sha256"));
    }
}

fn shake256(parts: [&[u8]; 2]) -> [u8; 64] {
    let mut hash = Shake256::default();
    parts.iter().for_each(|part| hash.update(part));
    let mut out = [0; 64];
    hash.finalize_xof().read(&mut out);
    out
}

/// The message of the internal interface is what µ is made of (FIPS 204, algorithm 8, lines 6 and 7).
#[test]
fn ml_dsa_sig_ver() {
    let mut passed = 0;
    let cases = cases("ml_dsa_sig_ver_internal.json");
    assert_eq!(cases.len(), 15);
    for case in cases {
        let (spec, key) = (spec(&case), hex(&case, "pk"));
        let mu = shake256([&shake256([&key, &[]]), &hex(&case, "message")]);
        let public_key = spki::of_raw(spec, &key).unwrap();
        let signer = Signer { spec, public_key: &public_key };
        let signature = hex(&case, "signature");
        let signed = signer.signed(SigningAlgorithm::MlDsaShake256, Signed::ExternalMu(&mu), &signature);
        let expected = case["testPassed"].as_bool().unwrap();
        assert_eq!(signed, Ok(expected), "{spec} {} {}", case["tcId"], case["reason"]);
        passed += usize::from(expected);
    }
    assert_eq!(passed, 3);
}

#[test]
fn eddsa_sig_ver() {
    let spec = KeySpec::EccNistEdwards25519;
    for case in cases("eddsa_sig_ver.json") {
        let public_key = spki::of_raw(spec, &hex(&case, "q")).unwrap();
        let (message, signature) = (hex(&case, "message"), hex(&case, "signature"));
        let signer = Signer { spec, public_key: &public_key };
        let signed = if case["preHash"].as_bool().unwrap() {
            let algorithm = SigningAlgorithm::Ed25519PhSha512;
            let digest = hashed(algorithm.hash().unwrap(), &message);
            signer.signed(algorithm, Signed::Digest(&digest), &signature)
        } else {
            signer.signed(SigningAlgorithm::Ed25519Sha512, Signed::Message(&message), &signature)
        };
        // A changed key may be no point of the curve, and has signed nothing then.
        assert_eq!(Ok(signed.unwrap_or(false)), case["testPassed"].as_bool().ok_or(()), "{}", case["tcId"]);
    }
}
