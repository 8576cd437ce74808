//! DeriveSharedSecret, Encapsulate and Decapsulate, with OpenSSL and another library on the other side.

use aws_lc_rs::kem::{Algorithm, AlgorithmId, EncapsulationKey, ML_KEM_512, ML_KEM_768, ML_KEM_1024};
use serde_json::{Value, json};

use crate::support::kinds_of_keys::{MESSAGE, base64};
use crate::support::kms_stories::key_arn;
use crate::support::site::merged;
use crate::support::{Setup, Site};

const CURVES: [(&str, &str, usize); 3] =
    [("ECC_NIST_P256", "P-256", 32), ("ECC_NIST_P384", "P-384", 48), ("ECC_NIST_P521", "P-521", 66)];

fn derive(key: &str, public_key: &[u8]) -> Value {
    json!({"KeyId": key, "KeyAgreementAlgorithm": "ECDH", "PublicKey": base64(public_key)})
}

/// A key pair of OpenSSL, whose private key is in the file `peer.pem`.
fn peer(site: &Site, curve: &str) -> Vec<u8> {
    let named = format!("ec_paramgen_curve:{curve}");
    site.openssl_ok(&["genpkey", "-algorithm", "EC", "-pkeyopt", &named, "-out", "peer.pem"]);
    site.openssl_ok(&["pkey", "-in", "peer.pem", "-pubout", "-outform", "DER"])
}

#[test]
fn both_sides_agree_on_the_same_secret() {
    let site = Site::start_with(&Setup::kms());
    for (spec, curve, bytes) in CURVES {
        let key = site.create_key_of(spec, "KEY_AGREEMENT");
        // Several, because a secret can begin with zeros.
        for _ in 0..3 {
            let peer = peer(&site, curve);
            let derived = site.kms("DeriveSharedSecret", &derive(&key, &peer));
            let secret = derived.bytes("SharedSecret");
            assert_eq!(secret.len(), bytes, "{spec}");
            let expected = json!({
                "KeyId": key_arn(&key), "KeyAgreementAlgorithm": "ECDH", "KeyOrigin": "AWS_KMS",
                "SharedSecret": base64(&secret),
            });
            assert_eq!(derived.ok(), expected);
            site.write("public.der", &site.public_key_of(&key));
            site.openssl_ok(&["pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", "public.pem"]);
            let same =
                site.openssl_ok(&["pkeyutl", "-derive", "-inkey", "peer.pem", "-peerkey", "public.pem"]);
            assert_eq!(same, secret, "{spec}");
        }
        let other = site.create_key_of(spec, "KEY_AGREEMENT");
        let sides = [(&key, &other), (&other, &key)];
        let secrets = sides.map(|(own, peer)| {
            site.kms("DeriveSharedSecret", &derive(own, &site.public_key_of(peer))).bytes("SharedSecret")
        });
        assert_eq!(secrets[0], secrets[1]);
    }
}

#[test]
fn a_peer_on_another_curve_or_on_none_is_refused() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_of("ECC_NIST_P256", "KEY_AGREEMENT");
    let right = peer(&site, "P-256");
    let mut off_curve = right.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    let text = "PublicKey is no public key that is valid for key spec ECC_NIST_P256.";
    for wrong in [&peer(&site, "P-384")[..], &off_curve, &right[1..], &right[26..], MESSAGE] {
        site.kms("DeriveSharedSecret", &derive(&key, wrong)).assert_error("ValidationException", text);
    }
    let signing = site.create_key_of("ECC_NIST_P256", "SIGN_VERIFY");
    let text =
        format!("{} key usage is SIGN_VERIFY which is not valid for DeriveSharedSecret.", key_arn(&signing));
    site.kms("DeriveSharedSecret", &derive(&signing, &right)).assert_error("InvalidKeyUsageException", &text);
}

const LATTICES: [(&str, &Algorithm<AlgorithmId>, usize); 3] = [
    ("ML_KEM_512", &ML_KEM_512, 768),
    ("ML_KEM_768", &ML_KEM_768, 1088),
    ("ML_KEM_1024", &ML_KEM_1024, 1568),
];

fn decapsulate(key: &str, blob: &[u8]) -> Value {
    json!({"KeyId": key, "EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": base64(blob)})
}

#[test]
fn a_secret_that_is_encapsulated_here_or_elsewhere_is_decapsulated() {
    let site = Site::start_with(&Setup::kms());
    for (spec, algorithm, blob_bytes) in LATTICES {
        let key = site.create_key_of(spec, "ENCAPSULATE_DECAPSULATE");
        let encapsulated =
            site.kms("Encapsulate", &json!({"KeyId": key, "EncapsulationAlgorithm": "ML_KEM"}));
        let (secret, blob) =
            (encapsulated.bytes("SharedSecret"), encapsulated.bytes("SharedSecretCiphertextBlob"));
        assert_eq!((secret.len(), blob.len()), (32, blob_bytes), "{spec}");
        let answer = encapsulated.ok();
        assert_eq!(
            [&answer["KeyId"], &answer["EncapsulationAlgorithm"]],
            [&json!(key_arn(&key)), &json!("ML_KEM")]
        );
        let expected = json!({
            "KeyId": key_arn(&key), "EncapsulationAlgorithm": "ML_KEM", "SharedSecret": base64(&secret),
        });
        assert_eq!(site.kms("Decapsulate", &decapsulate(&key, &blob)).ok(), expected);
        let public_key = site.public_key_of(&key);
        let raw = &public_key[public_key.len() - algorithm_key_bytes(spec)..];
        let (blob, secret) = EncapsulationKey::new(algorithm, raw).unwrap().encapsulate().unwrap();
        let decapsulated = site.kms("Decapsulate", &decapsulate(&key, blob.as_ref()));
        assert_eq!(decapsulated.bytes("SharedSecret"), secret.as_ref(), "{spec}");
    }
}

fn algorithm_key_bytes(spec: &str) -> usize {
    match spec {
        "ML_KEM_512" => 800,
        "ML_KEM_768" => 1184,
        _ => 1568,
    }
}

/// FIPS 203, 6.3: implicit rejection.
#[test]
fn a_wrong_ciphertext_gives_another_secret_and_one_of_a_wrong_length_none() {
    let site = Site::start_with(&Setup::kms());
    for (spec, _, blob_bytes) in LATTICES {
        let key = site.create_key_of(spec, "ENCAPSULATE_DECAPSULATE");
        let encapsulated =
            site.kms("Encapsulate", &json!({"KeyId": key, "EncapsulationAlgorithm": "ML_KEM"}));
        let mut blob = encapsulated.bytes("SharedSecretCiphertextBlob");
        blob[7] ^= 1;
        let secrets =
            [(), ()].map(|()| site.kms("Decapsulate", &decapsulate(&key, &blob)).bytes("SharedSecret"));
        assert_eq!(secrets[0], secrets[1], "{spec}");
        assert_ne!(secrets[0], encapsulated.bytes("SharedSecret"), "{spec}");
        for length in [1, blob_bytes - 1, blob_bytes + 1] {
            let request = decapsulate(&key, &vec![0; length]);
            site.kms("Decapsulate", &request).assert_error("InvalidCiphertextException", "");
            let rehearsed = merged(request, json!({"DryRun": true}));
            site.kms("Decapsulate", &rehearsed).assert_error("InvalidCiphertextException", "");
        }
    }
}
