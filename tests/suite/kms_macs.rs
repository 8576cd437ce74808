//! GenerateMac and VerifyMac, with another library as judge.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::support::kinds_of_keys::{MESSAGE, base64};
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::site::merged;
use crate::support::{Setup, Site};

const KINDS: [(&str, &str, usize); 4] = [
    ("HMAC_224", "HMAC_SHA_224", 28),
    ("HMAC_256", "HMAC_SHA_256", 32),
    ("HMAC_384", "HMAC_SHA_384", 48),
    ("HMAC_512", "HMAC_SHA_512", 64),
];

fn request(key: &str, algorithm: &str, message: &[u8]) -> Value {
    json!({"KeyId": key, "MacAlgorithm": algorithm, "Message": base64(message)})
}

#[test]
fn every_spec_has_its_algorithm_and_tags_of_full_length() {
    let site = Site::start_with(&Setup::kms());
    for (spec, algorithm, bytes) in KINDS {
        let key = site.create_key_of(spec, "GENERATE_VERIFY_MAC");
        for length in [1, 4096] {
            let message = vec![7; length];
            let made = site.kms("GenerateMac", &request(&key, algorithm, &message));
            let (tag, answer) = (made.bytes("Mac"), made.ok());
            assert_eq!(tag.len(), bytes, "{spec}");
            assert_eq!(answer["KeyId"], json!(key_arn(&key)));
            assert_eq!(answer["MacAlgorithm"], json!(algorithm));
            let again = site.kms("GenerateMac", &request(&key, algorithm, &message)).bytes("Mac");
            assert_eq!(again, tag);
            let check = merged(request(&key, algorithm, &message), json!({"Mac": base64(&tag)}));
            let expected = json!({"KeyId": key_arn(&key), "MacValid": true, "MacAlgorithm": algorithm});
            assert_eq!(site.kms("VerifyMac", &check).ok(), expected);
        }
        for length in [0, 4097] {
            let refused = site.kms("GenerateMac", &request(&key, algorithm, &vec![7; length]));
            assert_eq!(refused.error().0, "ValidationException");
        }
        for (_, other, _) in KINDS.iter().filter(|(_, other, _)| *other != algorithm) {
            let text = format!("Algorithm {other} is incompatible with key spec {spec}.");
            site.kms("GenerateMac", &request(&key, other, MESSAGE))
                .assert_error("InvalidKeyUsageException", &text);
        }
    }
}

#[test]
fn a_tag_that_is_not_the_keys_own_is_refused_whatever_is_wrong_with_it() {
    let site = Site::start_with(&Setup::kms());
    let [key, other] = [(), ()].map(|()| site.create_key_of("HMAC_256", "GENERATE_VERIFY_MAC"));
    let tag = site.kms("GenerateMac", &request(&key, "HMAC_SHA_256", MESSAGE)).bytes("Mac");
    let verify = |key: &str, message: &[u8], tag: &[u8]| {
        let request = request(key, "HMAC_SHA_256", message);
        site.kms("VerifyMac", &merged(request, json!({"Mac": base64(tag)})))
    };
    let mut changed = tag.clone();
    changed[31] ^= 1;
    let longer = [&tag[..], b"\0"].concat();
    for wrong in [&changed[..], &longer, &tag[..16], b"\0"] {
        verify(&key, MESSAGE, wrong).assert_error("KMSInvalidMacException", "");
    }
    verify(&key, b"another message", &tag).assert_error("KMSInvalidMacException", "");
    verify(&other, MESSAGE, &tag).assert_error("KMSInvalidMacException", "");
    let used = |key: &str| {
        site.kms("GetKeyLastUsage", &json!({"KeyId": key})).ok()["KeyLastUsage"]["Operation"].clone()
    };
    assert_eq!([used(&key), used(&other)], [json!("GenerateMac"), Value::Null]);
    verify(&key, MESSAGE, &tag).ok();
    assert_eq!(used(&key), json!("VerifyMac"));
}

/// AWS KMS Developer Guide, HMAC KMS keys: they do nothing else, and no other key does this.
#[test]
fn other_keys_make_no_tags_and_hmac_keys_nothing_else() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_of("HMAC_384", "GENERATE_VERIFY_MAC");
    for operation in ["Encrypt", "GenerateDataKey", "GenerateDataKeyPair", "Sign"] {
        let members = match operation {
            "Encrypt" => json!({"Plaintext": PLAINTEXT}),
            "GenerateDataKey" => json!({"KeySpec": "AES_256"}),
            "GenerateDataKeyPair" => json!({"KeyPairSpec": "ECC_NIST_P256"}),
            _ => json!({"Message": PLAINTEXT, "SigningAlgorithm": "ECDSA_SHA_256"}),
        };
        let text =
            format!("{} key usage is GENERATE_VERIFY_MAC which is not valid for {operation}.", key_arn(&key));
        site.kms(operation, &merged(json!({"KeyId": key}), members))
            .assert_error("InvalidKeyUsageException", &text);
    }
    let symmetric = site.create_kms_key();
    let text =
        format!("{} key usage is ENCRYPT_DECRYPT which is not valid for GenerateMac.", key_arn(&symmetric));
    site.kms("GenerateMac", &request(&symmetric, "HMAC_SHA_256", MESSAGE))
        .assert_error("InvalidKeyUsageException", &text);
}

/// The length of a key is that of its tags, so that a tag made elsewhere with the same key would be the same. What is
/// known of the key is only that: that its tags are not those of a key of zeros shows that there is one.
#[test]
fn tags_are_made_with_a_key() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_of("HMAC_512", "GENERATE_VERIFY_MAC");
    let tag = site.kms("GenerateMac", &request(&key, "HMAC_SHA_512", MESSAGE)).bytes("Mac");
    let zeros = hmac::Key::new(hmac::HMAC_SHA512, &[0; 64]);
    assert_ne!(hmac::sign(&zeros, MESSAGE).as_ref(), tag);
    let other = site.create_key_of("HMAC_512", "GENERATE_VERIFY_MAC");
    assert_ne!(site.kms("GenerateMac", &request(&other, "HMAC_SHA_512", MESSAGE)).bytes("Mac"), tag);
}
