//! GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext.

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use serde_json::{Value, json};

use crate::support::kinds_of_keys::{MESSAGE, base64};
use crate::support::kms::KmsReply;
use crate::support::kms_stories::key_arn;
use crate::support::site::merged;
use crate::support::{Setup, Site};

const SPECS: [&str; 8] = [
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519",
];
const LATTICES: [&str; 3] = ["ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"];

fn context() -> Value {
    json!({"EncryptionContext": {"tenant": "blue"}})
}

fn decrypted(site: &Site, pair: &KmsReply, context: &Value) -> KmsReply {
    let blob = json!({"CiphertextBlob": pair.text("PrivateKeyCiphertextBlob")});
    site.kms("Decrypt", &merged(blob, context.clone()))
}

/// What OpenSSL finds the public key of the private one to be.
fn public_key_of(site: &Site, private_key: &[u8]) -> Vec<u8> {
    site.write("private.der", private_key);
    site.openssl_ok(&["pkey", "-inform", "DER", "-in", "private.der", "-pubout", "-outform", "DER"])
}

#[test]
fn a_pair_is_one_whose_private_key_comes_back_by_decrypt() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_kms_key();
    let material = site.key_metadata_of(&key)["CurrentKeyMaterialId"].clone();
    for spec in SPECS {
        let request = merged(json!({"KeyId": key, "KeyPairSpec": spec}), context());
        let pair = site.kms("GenerateDataKeyPair", &request);
        let answer = pair.ok();
        assert_eq!(answer["KeyId"], json!(key_arn(&key)), "{spec}");
        assert_eq!(answer["KeyPairSpec"], json!(spec));
        assert_eq!(answer["KeyMaterialId"], material);
        let private_key = pair.bytes("PrivateKeyPlaintext");
        assert_eq!(public_key_of(&site, &private_key), pair.bytes("PublicKey"), "{spec}");
        assert_eq!(decrypted(&site, &pair, &context()).bytes("Plaintext"), private_key, "{spec}");
        decrypted(&site, &pair, &json!({})).assert_error("InvalidCiphertextException", "");
    }
    let used = site.kms("GetKeyLastUsage", &json!({"KeyId": key})).ok();
    assert_eq!(used["KeyLastUsage"]["Operation"], "Decrypt");
}

#[test]
fn without_plaintext_there_is_none_until_it_is_decrypted() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_kms_key();
    for spec in ["ECC_NIST_P384", "ECC_NIST_EDWARDS25519", "RSA_2048"] {
        let request = merged(json!({"KeyId": key, "KeyPairSpec": spec}), context());
        let pair = site.kms("GenerateDataKeyPairWithoutPlaintext", &request);
        assert_eq!(pair.ok().get("PrivateKeyPlaintext"), None);
        assert_eq!(pair.ok()["KeyPairSpec"], json!(spec));
        let private_key = decrypted(&site, &pair, &context()).bytes("Plaintext");
        assert_eq!(public_key_of(&site, &private_key), pair.bytes("PublicKey"), "{spec}");
    }
    let used = site.kms("GetKeyLastUsage", &json!({"KeyId": key})).ok();
    assert_eq!(used["KeyLastUsage"]["Operation"], "Decrypt");
}

#[test]
fn what_the_private_key_signs_the_public_key_verifies() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_kms_key();
    for spec in ["RSA_2048", "ECC_NIST_P256", "ECC_SECG_P256K1"] {
        let pair = site.kms("GenerateDataKeyPair", &json!({"KeyId": key, "KeyPairSpec": spec}));
        site.write("private.der", &pair.bytes("PrivateKeyPlaintext"));
        site.write("public.der", &pair.bytes("PublicKey"));
        site.write("message", MESSAGE);
        let sign = ["dgst", "-sha256", "-keyform", "DER", "-sign", "private.der", "message"];
        site.write("signature", &site.openssl_ok(&sign));
        site.openssl_ok(&[
            "dgst",
            "-sha256",
            "-keyform",
            "DER",
            "-verify",
            "public.der",
            "-signature",
            "signature",
            "message",
        ]);
    }
}

/// PKCS #8 of ML-KEM holds the seed, or the key, or both (RFC 9935); the public key is told apart by its length.
#[test]
fn lattice_pairs_encapsulate() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_kms_key();
    for (spec, bytes) in LATTICES.into_iter().zip([800, 1184, 1568]) {
        let pair = site.kms("GenerateDataKeyPair", &json!({"KeyId": key, "KeyPairSpec": spec}));
        let public_key = pair.bytes("PublicKey");
        assert!(public_key.len() > bytes && public_key.len() < bytes + 32, "{spec}");
        assert_eq!(decrypted(&site, &pair, &json!({})).bytes("Plaintext"), pair.bytes("PrivateKeyPlaintext"));
    }
    let pair = site.kms("GenerateDataKeyPair", &json!({"KeyId": key, "KeyPairSpec": "ML_KEM_768"}));
    let (public_key, private_key) = (pair.bytes("PublicKey"), pair.bytes("PrivateKeyPlaintext"));
    let public_key = &public_key[public_key.len() - 1184..];
    let (blob, secret) = EncapsulationKey::new(&ML_KEM_768, public_key).unwrap().encapsulate().unwrap();
    // The expanded key ends the structure where it is there at all.
    if let Some(expanded) = private_key.len().checked_sub(2400).map(|start| &private_key[start..])
        && let Ok(own) = DecapsulationKey::new(&ML_KEM_768, expanded)
    {
        let same = own.decapsulate(Ciphertext::from(blob.as_ref())).unwrap();
        assert_eq!(same.as_ref(), secret.as_ref());
    }
}

#[test]
fn sm2_exists_in_china_only() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_kms_key();
    for operation in ["GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"] {
        site.kms(operation, &json!({"KeyId": key, "KeyPairSpec": "SM2"}))
            .assert_error("UnsupportedOperationException", "KeyPairSpec SM2 is not supported in this Region");
    }
    for usage in ["SIGN_VERIFY", "ENCRYPT_DECRYPT", "KEY_AGREEMENT"] {
        site.kms("CreateKey", &json!({"KeySpec": "SM2", "KeyUsage": usage}))
            .assert_error("UnsupportedOperationException", "KeySpec SM2 is not supported in this Region");
    }
}

#[test]
fn only_symmetric_encryption_keys_protect_pairs() {
    let site = Site::start_with(&Setup::kms());
    let rsa = site.create_key_of("RSA_2048", "ENCRYPT_DECRYPT");
    for operation in ["GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"] {
        let members = if operation == "GenerateDataKey" {
            json!({"KeySpec": "AES_256"})
        } else {
            json!({"KeyPairSpec": "ECC_NIST_P256"})
        };
        let text = format!("{} key KeySpec is RSA_2048 which is not valid for {operation}.", key_arn(&rsa));
        site.kms(operation, &merged(json!({"KeyId": rsa}), members))
            .assert_error("InvalidKeyUsageException", &text);
    }
    let message = json!({"KeyId": rsa, "KeyPairSpec": base64(MESSAGE)});
    assert_eq!(site.kms("GenerateDataKeyPair", &message).error().0, "ValidationException");
}
