//! What goes to the proxy of an external key store, and what never does.

use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::external_key_stores::{administrator_arn, new_external_key};
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::rogue_proxy::RogueProxy;
use crate::support::{Setup, Site};

/// What every proxy takes (XKS v1, Encrypt).
const PLAINTEXT_BYTES_MAX: usize = 4300;
const AAD_BYTES_MAX: usize = 8192;

/// A key over `foo`, behind a proxy whose requests can be seen.
fn scene() -> (Site, RogueProxy, String) {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", ""));
    let rogue = RogueProxy::start(&site);
    let store = site.connected_external_store("story", &rogue.endpoint());
    let key = site.create_external_key(&store, "foo");
    rogue.take_requests();
    (site, rogue, key)
}

fn bytes(request: &Value, member: &str) -> Vec<u8> {
    decode_base64(request[member].as_str().unwrap()).unwrap()
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_proxy_sees_ciphertext_of_kms_and_nothing_that_was_to_be_encrypted() {
    let (site, rogue, key) = scene();
    let context = json!({"patient": "a-context-value"});
    let body = json!({"KeyId": key, "KeySpec": "AES_256", "EncryptionContext": context});
    let made = site.kms("GenerateDataKey", &body).ok();
    let data_key = decode_base64(made["Plaintext"].as_str().unwrap()).unwrap();
    let blob = &made["CiphertextBlob"];
    site.kms("Decrypt", &json!({"CiphertextBlob": blob, "EncryptionContext": context})).ok();
    let [encrypt, decrypt] = rogue.take_requests().try_into().unwrap();
    for request in [&encrypt, &decrypt] {
        let text = request.to_string();
        assert!(
            !text.contains(made["Plaintext"].as_str().unwrap()) && !text.contains("a-context-value"),
            "{text}"
        );
        assert_eq!(request["requestMetadata"]["kmsKeyArn"], key_arn(&key));
        assert_eq!(request["requestMetadata"]["awsPrincipalArn"], administrator_arn());
    }
    // One byte, the IV, the data key, the tag.
    assert_eq!(bytes(&encrypt, "plaintext").len(), 1 + 12 + 32 + 16);
    assert!(!has(&bytes(&encrypt, "plaintext"), &data_key));
    assert_eq!(encrypt["ciphertextDataIntegrityValueAlgorithm"], "SHA_256");
    assert_eq!(encrypt["additionalAuthenticatedData"], decrypt["additionalAuthenticatedData"]);
    // All that the proxy gave is in the blob, and comes back to it.
    let blob = decode_base64(blob.as_str().unwrap()).unwrap();
    for member in ["ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"] {
        assert!(has(&blob, &bytes(&decrypt, member)), "{member}");
    }
    assert_ne!(bytes(&decrypt, "ciphertext"), bytes(&encrypt, "plaintext"));
}

#[test]
fn the_longest_plaintext_and_context_are_within_what_every_proxy_takes() {
    let (site, rogue, key) = scene();
    let plaintext = encode_base64(&[7; 4096]);
    let context = json!({"a": "x".repeat(8000)});
    let body = json!({"KeyId": key, "Plaintext": plaintext, "EncryptionContext": context});
    let blob = site.kms("Encrypt", &body).text("CiphertextBlob");
    let opened = site.kms("Decrypt", &json!({"CiphertextBlob": blob, "EncryptionContext": context}));
    assert_eq!(opened.text("Plaintext"), plaintext);
    for request in rogue.take_requests() {
        assert!(bytes(&request, "additionalAuthenticatedData").len() <= AAD_BYTES_MAX);
        let text = if request["plaintext"].is_string() { "plaintext" } else { "ciphertext" };
        assert!(bytes(&request, text).len() <= PLAINTEXT_BYTES_MAX, "{}", bytes(&request, text).len());
    }
}

#[test]
fn what_a_proxy_does_not_give_is_not_given_back() {
    let (site, rogue, _) = scene();
    // Another tool's key has no version, so its ciphertexts have no metadata.
    site.other_tool("make imported");
    site.holdfast_ok(&["key", "list"]);
    let store = site.kms("DescribeCustomKeyStores", &json!({})).ok();
    let store = store["CustomKeyStores"][0]["CustomKeyStoreId"].as_str().unwrap().to_owned();
    let request = new_external_key(&store, "imported");
    site.wait_until("the external key", || site.kms("CreateKey", &request).0.status == 200);
    let keys = site.kms("ListKeys", &json!({})).ok();
    let is_it = |key: &&Value| {
        site.key_metadata_of(key["KeyId"].as_str().unwrap())["XksKeyConfiguration"]["Id"] == "imported"
    };
    let key = keys["Keys"].as_array().unwrap().iter().find(is_it).unwrap()["KeyId"].clone();
    rogue.take_requests();
    let blob = site.kms_encrypt(key.as_str().unwrap());
    assert_eq!(site.kms_decrypt(&blob)["Plaintext"], PLAINTEXT);
    let [_, decrypt] = rogue.take_requests().try_into().unwrap();
    assert_eq!(decrypt.get("ciphertextMetadata"), None);
}

#[test]
fn a_key_made_anew_over_the_same_external_key_cannot_decrypt_for_the_old_one() {
    let (site, _rogue, old) = scene();
    let blob = site.kms_encrypt(&old);
    let store = site.key_metadata_of(&old)["CustomKeyStoreId"].as_str().unwrap().to_owned();
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": old, "PendingWindowInDays": 7})).ok();
    site.advance_clock("8d");
    let new = site.create_external_key(&store, "foo");
    for body in [json!({"CiphertextBlob": blob}), json!({"CiphertextBlob": blob, "KeyId": new})] {
        let (name, _) = site.kms("Decrypt", &body).error();
        assert!(["AccessDeniedException", "IncorrectKeyException"].contains(&name.as_str()), "{name}");
    }
    // Nor does a blob pass for one of another key because its header says so.
    let ours = decode_base64(&site.kms_encrypt(&new)).unwrap();
    let theirs = decode_base64(&blob).unwrap();
    let header = 1 + 1 + 6 + 1 + "us-east-1".len() + 16 + 32 + 4;
    let forged = encode_base64(&[&ours[..header], &theirs[header..]].concat());
    let (name, _) = site.kms("Decrypt", &json!({"CiphertextBlob": forged})).error();
    assert_eq!(name, "KMSInvalidStateException");
}

#[test]
fn a_key_store_is_asked_for_its_health_while_it_is_connected_and_never_after() {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", "health_interval_seconds = 1"));
    let rogue = RogueProxy::start(&site);
    let store = site.connected_external_store("story", &rogue.endpoint());
    let polls = || {
        let operation = |request: &Value| request["requestMetadata"]["kmsOperation"] == "KmsHealthCheck";
        rogue.take_requests().iter().filter(|request| operation(request)).count()
    };
    for _ in 0..2 {
        site.wait_until("a poll", || polls() > 0);
    }
    site.disconnect_store(&store);
    polls();
    // The poll of another key store shows that the time for one has come.
    let other = site.connected_external_store("other", &site.proxy_endpoint());
    let is_polled = || {
        let label = format!("custom_key_store_id=\"{other}\"");
        let text = site.admin("/metrics").unwrap().1;
        text.lines().any(|line| line.contains(&label) && line.contains("KmsHealthCheck"))
    };
    site.wait_until("a poll of the other", is_polled);
    assert_eq!(polls(), 0);
}
