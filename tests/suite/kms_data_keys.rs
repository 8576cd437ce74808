//! Data keys, random bytes, and keys that cannot be used for a while.

use std::collections::BTreeSet;

use proxy_api::wire::decode_base64;
use serde_json::{Value, json};

use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::{Setup, Site};

/// What every operation that uses the key says.
fn use_of(site: &Site, id: &str, ciphertext: &str) -> Vec<Option<(String, String)>> {
    [
        ("Encrypt", json!({"KeyId": id, "Plaintext": PLAINTEXT})),
        ("Decrypt", json!({"CiphertextBlob": ciphertext})),
        ("ReEncrypt", json!({"CiphertextBlob": ciphertext, "DestinationKeyId": id})),
        ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": id, "KeySpec": "AES_256"})),
    ]
    .into_iter()
    .map(|(operation, request)| {
        let reply = site.kms(operation, &request);
        (reply.0.status != 200).then(|| reply.error())
    })
    .collect()
}

#[test]
fn a_data_key_comes_in_the_clear_and_encrypted_and_decrypt_gives_it_back() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let mut seen = BTreeSet::new();
    for (length, bytes) in [
        (json!({"KeySpec": "AES_128"}), 16),
        (json!({"KeySpec": "AES_256"}), 32),
        (json!({"NumberOfBytes": 1}), 1),
        (json!({"NumberOfBytes": 64}), 64),
        (json!({"NumberOfBytes": 1024}), 1024),
    ] {
        let context = json!({"a": "b"});
        let mut request = length;
        request["KeyId"] = json!(id);
        request["EncryptionContext"] = context.clone();
        let data_key = site.kms("GenerateDataKey", &request).ok();
        assert_eq!(data_key["KeyId"], json!(key_arn(&id)));
        let plaintext = data_key["Plaintext"].as_str().unwrap();
        assert_eq!(decode_base64(plaintext).unwrap().len(), bytes);
        let decrypt = json!({"CiphertextBlob": data_key["CiphertextBlob"], "EncryptionContext": context});
        assert_eq!(site.kms("Decrypt", &decrypt).text("Plaintext"), plaintext);

        let without = site.kms("GenerateDataKeyWithoutPlaintext", &request).ok();
        assert!(without.get("Plaintext").is_none(), "{without}");
        let decrypt = json!({"CiphertextBlob": without["CiphertextBlob"], "EncryptionContext": context});
        let other = site.kms("Decrypt", &decrypt).text("Plaintext");
        assert_eq!(decode_base64(&other).unwrap().len(), bytes);
        seen.extend([plaintext.to_owned(), other].into_iter().filter(|_| bytes > 1));
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn the_length_of_a_data_key_is_said_once_and_within_bounds() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for operation in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"] {
        for request in [
            json!({"KeyId": id}),
            json!({"KeyId": id, "KeySpec": "AES_256", "NumberOfBytes": 32}),
            json!({"KeyId": id, "NumberOfBytes": 0}),
            json!({"KeyId": id, "NumberOfBytes": 1025}),
            json!({"KeyId": id, "KeySpec": "SYMMETRIC_DEFAULT"}),
            json!({"KeySpec": "AES_256"}),
        ] {
            assert_eq!(site.kms(operation, &request).error().0, "ValidationException", "{request}");
        }
    }
}

#[test]
fn random_bytes_need_no_key() {
    let site = Site::start_with(&Setup::kms());
    let random =
        |request: &Value| decode_base64(&site.kms("GenerateRandom", request).text("Plaintext")).unwrap();
    assert_eq!(random(&json!({"NumberOfBytes": 1024})).len(), 1024);
    let one = random(&json!({"NumberOfBytes": 32}));
    assert_ne!(one, random(&json!({"NumberOfBytes": 32})));
    for request in [json!({}), json!({"NumberOfBytes": 0}), json!({"NumberOfBytes": 1025})] {
        assert_eq!(site.kms("GenerateRandom", &request).error().0, "ValidationException");
    }
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"], json!([]));
}

#[test]
fn a_disabled_key_does_nothing_at_once_and_everything_again_when_it_is_enabled() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let data_key = site.kms("GenerateDataKey", &json!({"KeyId": id, "KeySpec": "AES_256"})).ok();
    let ciphertext = data_key["CiphertextBlob"].as_str().unwrap();
    for _ in 0..3 {
        assert!(site.kms("DisableKey", &json!({"KeyId": id})).0.body.is_empty());
        let metadata = site.key_metadata_of(&id);
        assert_eq!((&metadata["Enabled"], &metadata["KeyState"]), (&json!(false), &json!("Disabled")));
        let disabled = Some(("DisabledException".to_owned(), format!("{} is disabled.", key_arn(&id))));
        assert!(use_of(&site, &id, ciphertext).iter().all(|error| *error == disabled));
        assert!(site.kms("EnableKey", &json!({"KeyId": id})).0.body.is_empty());
        assert!(use_of(&site, &id, ciphertext).iter().all(Option::is_none));
        assert_eq!(site.kms_decrypt(ciphertext)["Plaintext"], data_key["Plaintext"]);
    }
    for operation in ["EnableKey", "DisableKey"] {
        assert_eq!(site.kms(operation, &json!({})).error().0, "ValidationException");
        site.kms(operation, &json!({"KeyId": id})).ok();
        site.kms(operation, &json!({"KeyId": id})).ok();
    }
}

#[test]
fn a_key_that_is_pending_deletion_or_import_is_used_for_nothing() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let ciphertext = site.kms_encrypt(&id);
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id})).ok();
    let pending = ("KMSInvalidStateException".to_owned(), format!("{} is pending deletion.", key_arn(&id)));
    assert!(use_of(&site, &id, &ciphertext).iter().all(|error| error.as_ref() == Some(&pending)));
    site.kms("CancelKeyDeletion", &json!({"KeyId": id})).ok();
    site.kms("EnableKey", &json!({"KeyId": id})).ok();
    assert!(use_of(&site, &id, &ciphertext).iter().all(Option::is_none));

    let imported = site.create_key_with(&json!({"Origin": "EXTERNAL"}));
    for operation in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"] {
        site.kms(operation, &json!({"KeyId": imported, "KeySpec": "AES_256"}))
            .assert_error("KMSInvalidStateException", &format!("{} is pending import.", key_arn(&imported)));
    }
}
