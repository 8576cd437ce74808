//! What is secret in requests, answers and keys is nowhere else: not in the log, a metric, an error or the database.

use proxy_api::client::{Endpoint, HttpVersions, TlsTrust};
use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::changes::Reload;
use crate::support::kms::{ACCOUNT, KmsReply, signed};
use crate::support::site::PIN;
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"a plaintext that nobody else may see";
/// A value that travels as text, not as Base64.
const CONTEXT_VALUE: &str = "a-context-value-of-a-patient";

/// Behind the shim, with everything that can be logged in the log.
fn site() -> Site {
    let tables = "[log]\nfilter = \"trace\"".to_owned();
    Site::start_with(&Setup { shim: true, tables, ..Setup::kms() })
}

/// The texts that a secret could be found by: itself, in Base64, in hexadecimal digits, as Rust prints bytes.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut spellings = vec![encode_base64(secret), hex.to_uppercase(), hex, listed.join(", ")];
    spellings.extend(String::from_utf8(secret.to_vec()));
    spellings
}

#[track_caller]
fn assert_absent(places: &[(&str, String)], secrets: &[Vec<u8>]) {
    for secret in secrets {
        for spelling in spellings(secret) {
            for (place, text) in places {
                let line = text.lines().find(|line| line.contains(&spelling));
                assert_eq!(line, None, "{spelling} is in the {place}");
            }
        }
    }
}

/// Log, metrics and every file of the daemon.
fn places(site: &Site, errors: &[KmsReply]) -> Vec<(&'static str, String)> {
    let told = errors.iter().map(|error| String::from_utf8_lossy(&error.0.body).into_owned() + "\n");
    let mut places =
        vec![("log", site.log()), ("metrics", site.admin("/metrics").unwrap().1), ("errors", told.collect())];
    for entry in std::fs::read_dir(site.path("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            // Each byte as a character, so that text is found between bytes that are none.
            places.push(("state", bytes.iter().map(|byte| char::from(*byte)).collect()));
        }
    }
    places
}

/// HTTP/2 is what traces most.
fn over_http_2(site: &Site, operation: &str, body: &Value) -> KmsReply {
    let trust = TlsTrust::new(site.pki.ca_pem.as_bytes());
    let host = format!("localhost:{}", site.kms_port);
    let endpoint = Endpoint::https(&host, &trust, HttpVersions::Both).unwrap();
    KmsReply(site.send_to(&endpoint, signed(&ACCOUNT, operation, body).outgoing(&host)))
}

fn bytes_of(reply: &Value, member: &str) -> Vec<u8> {
    decode_base64(reply[member].as_str().unwrap()).unwrap()
}

#[test]
fn plaintexts_data_keys_and_contexts_are_in_the_answer_and_nowhere_else() {
    let site = site();
    let id = site.create_kms_key();
    let context = json!({"patient": CONTEXT_VALUE});
    let plaintext = encode_base64(PLAINTEXT);
    let encrypt = json!({"KeyId": id, "Plaintext": plaintext, "EncryptionContext": context});
    let blob = over_http_2(&site, "Encrypt", &encrypt).text("CiphertextBlob");
    let decrypt = json!({"CiphertextBlob": blob, "EncryptionContext": context});
    assert_eq!(bytes_of(&site.kms("Decrypt", &decrypt).ok(), "Plaintext"), PLAINTEXT);
    let data_key = site.kms("GenerateDataKey", &json!({"KeyId": id, "KeySpec": "AES_256"})).ok();
    let random = site.kms("GenerateRandom", &json!({"NumberOfBytes": 32})).ok();
    site.kms(
        "ReEncrypt",
        &json!({
            "CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": id,
            "DestinationEncryptionContext": context,
        }),
    )
    .ok();

    let mut errors = wrong_requests(&site, &id, &decrypt);
    site.inject("C_Encrypt code=CKR_DEVICE_ERROR count=1");
    errors.push(site.kms("Encrypt", &encrypt));
    site.inject("C_Decrypt code=CKR_DEVICE_ERROR count=1");
    errors.push(site.kms("Decrypt", &decrypt));
    site.inject("");
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    errors.push(site.kms("Encrypt", &encrypt));
    assert!(errors.iter().all(|error| error.0.status != 200));

    site.reload(Reload::Taken, || site.hang_up());
    site.wait_until("all lines", || failures(&site) >= errors.len());
    assert!(site.log().contains("\"TRACE\""), "the filter is not in force");
    let secrets = [
        PLAINTEXT.to_vec(),
        CONTEXT_VALUE.as_bytes().to_vec(),
        bytes_of(&data_key, "Plaintext"),
        bytes_of(&random, "Plaintext"),
        PIN.as_bytes().to_vec(),
        ACCOUNT.secret_access_key.as_bytes().to_vec(),
    ];
    assert_absent(&places(&site, &errors), &secrets);
}

/// Lines of the log about requests that failed.
fn failures(site: &Site) -> usize {
    let log = site.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "kms request" && line["outcome"] != "Success").count()
}

/// Requests that are refused, each with the plaintext in it.
fn wrong_requests(site: &Site, id: &str, decrypt: &Value) -> Vec<KmsReply> {
    let plaintext = encode_base64(PLAINTEXT);
    let text = String::from_utf8(PLAINTEXT.to_vec()).unwrap();
    let with = |operation: &str, body: Value| site.kms(operation, &body);
    let mut other_context = decrypt.clone();
    other_context["EncryptionContext"] = json!({"patient": format!("{CONTEXT_VALUE}x")});
    vec![
        with("Encrypt", json!({"KeyId": "alias/none", "Plaintext": plaintext})),
        with("Encrypt", json!({"KeyId": id, "Plaintext": text})),
        with("Encrypt", json!({"KeyId": id, "Plaintext": format!("{plaintext}!")})),
        with("Encrypt", json!({"KeyId": id, "Plaintext": plaintext.repeat(200)})),
        with("Encrypt", json!({"KeyId": id, "Plaintext": {"a": plaintext}})),
        with("Encrypt", json!({"KeyId": id, "Plaintext": [plaintext]})),
        with("Encrypt", json!({"KeyId": id, "Plaintext": plaintext, "EncryptionAlgorithm": "ROT13"})),
        with("Encrypt", json!({"Plaintext": plaintext})),
        with("Encrypt", json!({"KeyId": id, "Plaintext": plaintext, "EncryptionContext": [CONTEXT_VALUE]})),
        with(
            "Encrypt",
            json!({"KeyId": id, "Plaintext": plaintext, "EncryptionContext": {"a": [CONTEXT_VALUE]}}),
        ),
        with(
            "Encrypt",
            json!({"KeyId": id, "Plaintext": plaintext, "EncryptionContext": {"a": CONTEXT_VALUE.repeat(500)}}),
        ),
        with("Decrypt", other_context),
        with("CreateCustomKeyStore", json!({"CustomKeyStoreName": "a", "KeyStorePassword": CONTEXT_VALUE})),
        with(
            "ImportKeyMaterial",
            json!({"KeyId": id, "ImportToken": plaintext, "EncryptedKeyMaterial": plaintext}),
        ),
    ]
}
