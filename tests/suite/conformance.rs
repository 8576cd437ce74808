//! The cases of the official conformance client (inventory section 33), judged whole: status, name and value.

use proxy_api::wire::{cdiv, decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::{Reply, Site, metadata};

const AAD: &[u8] = b"project=nile,department=marketing";
const OTHER_AAD: &[u8] = b"project=nile,department=finance";
const PLAINTEXT: &[u8] = b"Hello World!";

fn aad(aad: &[u8]) -> Value {
    json!({ "additionalAuthenticatedData": encode_base64(aad) })
}

fn wrong_credentials(site: &Site, path: &str, body: &Value) -> [Reply; 2] {
    let mut unknown_id = site.signed(path, body);
    unknown_id.access_key_id = format!("Invalid{}", unknown_id.access_key_id);
    let mut wrong_secret = site.signed(path, body);
    wrong_secret.secret_access_key = format!("Invalid{}", wrong_secret.secret_access_key);
    [site.send_signed(&unknown_id), site.send_signed(&wrong_secret)]
}

fn wrong_path(site: &Site, path: &str, body: &Value) -> Reply {
    let mut signed = site.signed(path, body);
    signed.path = format!("/test/invalid/kms/xks/v1/{path}");
    site.send_signed(&signed)
}

#[test]
fn cases_1_to_6_health() {
    let site = Site::start();
    let health = site.health();
    health.assert_ok();
    let health = health.json();
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
    assert_eq!(health["ekmFleetDetails"][0]["id"], "softhsm");
    assert_eq!(health["xksProxyFleetSize"], 1);
    for body in [json!({}), json!({"requestMetadata": {}})] {
        site.post("health", &body).assert_error(400, "ValidationException");
    }
    let body = json!({"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "r"}});
    for reply in wrong_credentials(&site, "health", &body) {
        reply.assert_error(401, "AuthenticationFailedException");
    }
    wrong_path(&site, "health", &body).assert_error(404, "InvalidUriPathException");
}

#[test]
fn cases_7_to_14_metadata() {
    let site = Site::start();
    for operation in ["DescribeKey", "CreateKey"] {
        let reply = site.post("keys/foo/metadata", &json!({"requestMetadata": metadata(operation)}));
        assert_eq!(
            reply.assert_ok().json(),
            json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"})
        );
    }
    for body in [json!({}), json!({"requestMetadata": {}})] {
        site.post("keys/foo/metadata", &body).assert_error(400, "ValidationException");
    }
    site.key_metadata("non_existing_key").assert_error(404, "KeyNotFoundException");
    let body = json!({"requestMetadata": metadata("CreateKey")});
    for reply in wrong_credentials(&site, "keys/foo/metadata", &body) {
        reply.assert_error(401, "AuthenticationFailedException");
    }
    wrong_path(&site, "keys/foo/metadata", &body).assert_error(404, "InvalidUriPathException");
}

#[test]
fn cases_15_to_19_encrypt_refused() {
    let site = Site::start();
    site.encrypt("non_existing_key", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    site.encrypt("foo", PLAINTEXT, json!({"plaintext": null})).assert_error(400, "ValidationException");
    let body = json!({"requestMetadata": metadata("Encrypt"), "plaintext": "SGVsbG8=", "encryptionAlgorithm": "AES_GCM"});
    for reply in wrong_credentials(&site, "keys/foo/encrypt", &body) {
        reply.assert_error(401, "AuthenticationFailedException");
    }
    wrong_path(&site, "keys/foo/encrypt", &body).assert_error(404, "InvalidUriPathException");
}

#[test]
fn cases_20_to_25_another_aad_does_not_decrypt() {
    let site = Site::start();
    let encrypted = site.encrypt("foo", PLAINTEXT, aad(AAD)).assert_ok().json();
    site.decrypt("foo", &encrypted, json!({})).assert_error(400, "InvalidCiphertextException");
    site.decrypt("foo", &encrypted, aad(OTHER_AAD)).assert_error(400, "InvalidCiphertextException");
}

#[test]
fn cases_26_to_35_round_trips() {
    let site = Site::start();
    let (long, long_aad) = (vec![0x5a; 4096], vec![0xa5; 8192]);
    for (plaintext, members) in [
        (PLAINTEXT, json!({})),
        (PLAINTEXT, aad(AAD)),
        (&long, aad(&long_aad)),
        (&[], json!({})),
        (&[], aad(b"")),
    ] {
        let reply = site.encrypt("foo", plaintext, members.clone());
        let encrypted = reply.assert_ok().json();
        assert_eq!(decode_base64(encrypted["ciphertext"].as_str().unwrap()).unwrap().len(), plaintext.len());
        assert_eq!(decode_base64(encrypted["initializationVector"].as_str().unwrap()).unwrap().len(), 12);
        assert_eq!(decode_base64(encrypted["authenticationTag"].as_str().unwrap()).unwrap().len(), 16);
        assert!(!reply.body.contains(&b'\n'), "one line");
        assert!(encrypted.get("ciphertextDataIntegrityValue").is_none());
        let decrypted = site.decrypt("foo", &encrypted, members);
        assert_eq!(decrypted.assert_ok().json(), json!({"plaintext": encode_base64(plaintext)}));
    }
}

#[test]
fn cases_30_to_33_the_cdiv_can_be_recomputed() {
    let site = Site::start();
    for (aad_bytes, members) in [(AAD, aad(AAD)), (&[], json!({}))] {
        let mut with_cdiv = members.clone();
        with_cdiv["ciphertextDataIntegrityValueAlgorithm"] = json!("SHA_256");
        let encrypted = site.encrypt("foo", PLAINTEXT, with_cdiv).assert_ok().json();
        let bytes = |member: &str| decode_base64(encrypted[member].as_str().unwrap()).unwrap();
        let expected = cdiv(
            aad_bytes,
            &bytes("ciphertextMetadata"),
            &bytes("initializationVector"),
            &bytes("ciphertext"),
            &bytes("authenticationTag"),
        );
        assert_eq!(bytes("ciphertextDataIntegrityValue"), expected);
        let decrypted = site.decrypt("foo", &encrypted, members);
        assert_eq!(decrypted.assert_ok().text("plaintext"), encode_base64(PLAINTEXT));
    }
}

#[test]
fn cases_36_to_41_an_encrypt_only_key() {
    let site = Site::start();
    for members in [json!({}), aad(AAD)] {
        let encrypted = site.encrypt("encrypt_only_key", PLAINTEXT, members.clone()).assert_ok().json();
        site.decrypt("encrypt_only_key", &encrypted, members.clone())
            .assert_error(400, "InvalidKeyUsageException");
        let mut with_cdiv = members;
        with_cdiv["ciphertextDataIntegrityValueAlgorithm"] = json!("SHA_256");
        site.encrypt("encrypt_only_key", PLAINTEXT, with_cdiv).assert_error(400, "InvalidKeyUsageException");
    }
    assert_eq!(site.key_metadata("encrypt_only_key").json()["keyUsage"], json!(["ENCRYPT"]));
}

#[test]
fn cases_42_to_49_keys_that_may_not_encrypt() {
    let site = Site::start();
    for (key, usage) in [("decrypt_only_key", json!(["DECRYPT"])), ("impotent_key", json!([]))] {
        for members in [json!({}), aad(AAD)] {
            site.encrypt(key, PLAINTEXT, members.clone()).assert_error(400, "InvalidKeyUsageException");
            let mut with_cdiv = members;
            with_cdiv["ciphertextDataIntegrityValueAlgorithm"] = json!("SHA_256");
            site.encrypt(key, PLAINTEXT, with_cdiv).assert_error(400, "InvalidKeyUsageException");
        }
        assert_eq!(site.key_metadata(key).json()["keyUsage"], usage);
    }
}
