//! What goes wrong between the KMS API and the proxy of an external key store, and what its callers are told: the
//! documented exception with its exact text, soon, and nothing else.

use std::sync::Arc;

use proxy_api::error::ErrorName;
use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::key_store_scene::{Golden, OPERATIONS, Scene};
use crate::support::rogue_proxy::{Change, Fault};
use crate::support::site::Site;

/// Each fault with the failure of the golden file that it is, and the code of a connection that fails by it.
type Row = (String, Fault, &'static str, &'static str);

const MALFORMED: (&str, &str) = ("Malformed(\"\")", "XKS_PROXY_INVALID_RESPONSE");
const TLS: (&str, &str) = ("Tls(\"\")", "XKS_PROXY_INVALID_TLS_CONFIGURATION");
const TIMED_OUT: (&str, &str) = ("AnswerTimedOut", "XKS_PROXY_TIMED_OUT");
const UNREACHABLE: (&str, &str) = ("Unreachable(\"\")", "XKS_PROXY_NOT_REACHABLE");

fn error_names() -> Vec<Row> {
    let row = |error: ErrorName| {
        let (status, name) = error.wire();
        let code = match name {
            "AccessDeniedException" => "XKS_PROXY_ACCESS_DENIED",
            "AuthenticationFailedException" => "INVALID_CREDENTIALS",
            "DependencyTimeoutException" | "ThrottlingException" => "XKS_PROXY_TIMED_OUT",
            "InvalidUriPathException" => "XKS_PROXY_INVALID_CONFIGURATION",
            _ => "XKS_PROXY_INVALID_RESPONSE",
        };
        let body = json!({"errorName": name, "errorMessage": "why"}).to_string();
        (name.to_owned(), Fault::Answers(status, body.into_bytes()), name, code)
    };
    ErrorName::ALL.into_iter().map(row).collect()
}

fn malformed() -> Vec<Row> {
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(300 * 1024));
    let answers = [
        (500, ""),
        (502, "<html><h1>Bad Gateway</h1></html>"),
        (404, "Not Found"),
        (400, r#"{"errorName":"UnheardOfException"}"#),
        (400, r#"{"errorMessage":"why"}"#),
        (302, ""),
        (200, ""),
        (200, "{}"),
        (200, "[]"),
        (200, "null"),
        (200, r#"{"ciphertext":"#),
        (200, &huge),
    ];
    let row = |named: String, fault| (named, fault, MALFORMED.0, MALFORMED.1);
    let answer = |(status, body): (u16, &str)| {
        let named = format!("{status} {}", body.chars().take(20).collect::<String>());
        row(named, Fault::Answers(status, body.as_bytes().to_vec()))
    };
    let mut rows: Vec<_> = answers.into_iter().map(answer).collect();
    rows.push(row("a reset in the answer".to_owned(), Fault::CutsOff));
    rows.push(row("no HTTP".to_owned(), Fault::Speaks(b"SSH-2.0-OpenSSH_9.9\r\n")));
    rows
}

fn network_and_tls() -> Vec<Row> {
    let row = |named: &str, fault, (failure, code)| (named.to_owned(), fault, failure, code);
    vec![
        row("refused", Fault::Refuses, UNREACHABLE),
        row("black hole", Fault::BlackHole, UNREACHABLE),
        row("closed without an answer", Fault::ClosesUnanswered, UNREACHABLE),
        row("silence before TLS", Fault::Silent, TIMED_OUT),
        row("silence after TLS", Fault::Hangs, TIMED_OUT),
        row("byte by byte", Fault::Drips, TIMED_OUT),
        row("closed before TLS", Fault::ClosesBeforeTls, TLS),
        row("no TLS", Fault::SpeaksPlainText, TLS),
        row("unknown authority", Fault::ForeignCertificate, TLS),
        row("expired", Fault::ExpiredCertificate, TLS),
        row("another name", Fault::WrongName, TLS),
    ]
}

fn assert_rows(rows: Vec<Row>) {
    let (mut scene, golden) = (Scene::new(), Golden::read());
    for (named, fault, failure, code) in rows {
        scene.assert_row(&golden, &named, (&fault, failure));
        scene.assert_connects_not(&fault, code);
        for operation in OPERATIONS {
            // Each from the fault, so that none profits from another's connection.
            scene.rogue.set(&fault);
            scene.assert_recovers(operation);
        }
        scene.assert_connects();
    }
    scene.assert_nothing_leaked();
}

#[test]
fn each_error_of_a_proxy_becomes_its_exception() {
    assert_rows(error_names());
}

#[test]
fn answers_that_make_no_sense_are_not_interpreted() {
    assert_rows(malformed());
}

#[test]
fn faults_of_network_and_tls_are_told_apart() {
    assert_rows(network_and_tls());
}

fn change(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
    let change: Change = Arc::new(change);
    Fault::Changes(change)
}

#[test]
fn a_corruption_between_proxy_and_kms_is_always_caught() {
    let (mut scene, golden) = (Scene::new(), Golden::read());
    let mut flipped = 0;
    for member in [
        "ciphertext",
        "initializationVector",
        "authenticationTag",
        "ciphertextMetadata",
        "ciphertextDataIntegrityValue",
    ] {
        let bytes = scene.member_bytes(member);
        for place in 0..bytes {
            let fault = change(move |body| {
                let mut value = decode_base64(body[member].as_str().unwrap()).unwrap();
                value[place] ^= 1 << (place % 8);
                body[member] = json!(encode_base64(&value));
            });
            let operation = if place % 2 == 0 { "GenerateDataKey" } else { "Encrypt" };
            let (reply, _) = scene.answer_under(&fault, operation);
            assert_eq!(reply.error(), golden.expected(operation, MALFORMED.0), "{member} {place}");
            flipped += 1;
        }
    }
    assert!(flipped > 100, "{flipped}");
    scene.assert_recovers("GenerateDataKey");
    scene.assert_nothing_leaked();
}

impl Scene {
    /// How long a member of the proxy's answer to GenerateDataKey is.
    fn member_bytes(&mut self, member: &'static str) -> usize {
        let length = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = Arc::clone(&length);
        let look = change(move |body| {
            let bytes = decode_base64(body[member].as_str().unwrap()).unwrap().len();
            seen.store(bytes, std::sync::atomic::Ordering::SeqCst);
        });
        let (reply, _) = self.answer_under(&look, "GenerateDataKey");
        reply.ok();
        length.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[track_caller]
    fn assert_refused(&mut self, golden: &Golden, fault: &Fault, operation: &str) {
        let (reply, _) = self.answer_under(fault, operation);
        assert_eq!(reply.error(), golden.expected(operation, MALFORMED.0));
    }
}

#[test]
fn a_member_that_is_missing_or_out_of_bounds_is_not_interpreted() {
    let (mut scene, golden) = (Scene::new(), Golden::read());
    let base64 = |bytes: usize| json!(encode_base64(&vec![7; bytes]));
    let of_encrypt = [
        ("ciphertext", vec![Value::Null, json!(3), json!("****"), base64(0), base64(60), base64(4096)]),
        ("initializationVector", vec![Value::Null, base64(0), base64(11), base64(13), base64(17)]),
        ("authenticationTag", vec![Value::Null, base64(0), base64(15), base64(17), json!("_-8=")]),
        ("ciphertextMetadata", vec![base64(21), json!({}), Value::Null]),
        ("ciphertextDataIntegrityValue", vec![Value::Null, base64(0), base64(31), base64(33)]),
    ];
    for (member, values) in of_encrypt {
        for value in values {
            scene.assert_refused(&golden, &set(member, value.clone()), "GenerateDataKey");
            scene.assert_refused(&golden, &set(member, value), "ReEncryptTo");
        }
    }
    for value in [Value::Null, json!(3), json!("****"), base64(0), base64(1), base64(4096)] {
        scene.assert_refused(&golden, &set("plaintext", value.clone()), "Decrypt");
        scene.assert_refused(&golden, &set("plaintext", value), "ReEncryptFrom");
    }
    for (member, values) in [
        ("keySpec", vec![Value::Null, json!(256)]),
        ("keyUsage", vec![Value::Null, json!("ENCRYPT"), json!(vec!["SIGN"; 11])]),
        ("keyStatus", vec![Value::Null, json!("SLEEPING")]),
    ] {
        for value in values {
            scene.assert_refused(&golden, &set(member, value), "CreateKey");
        }
    }
    for (member, values) in [
        ("xksProxyFleetSize", vec![Value::Null, json!(0)]),
        ("ekmVendor", vec![Value::Null]),
        (
            "ekmFleetDetails",
            vec![Value::Null, json!([]), json!([{"id": "1", "model": "m", "healthStatus": "FINE"}])],
        ),
    ] {
        for value in values {
            scene.assert_refused(&golden, &set(member, value.clone()), "UpdateCustomKeyStore");
            scene.assert_connects_not(&set(member, value), MALFORMED.1);
        }
    }
    scene.assert_recovers("GenerateDataKey");
}

/// Sets a member of the answer; `null` removes it.
fn set(member: &'static str, value: Value) -> Fault {
    change(move |body| *body = crate::support::site::merged(body.clone(), json!({ member: value })))
}

#[test]
fn what_was_sent_once_is_not_sent_again() {
    let mut scene = Scene::new();
    let refused = Fault::Answers(503, br#"{"errorName":"DependencyTimeoutException"}"#.to_vec());
    for fault in [refused, Fault::CutsOff, Fault::ClosesUnanswered, Fault::Hangs, Fault::None] {
        for operation in OPERATIONS {
            scene.rogue.take_requests();
            scene.answer_under(&fault, operation);
            assert_eq!(scene.rogue.take_requests().len(), 1, "{operation}");
            scene.site.delete_stores_but(&[&scene.connected, &scene.other]);
        }
    }
}

impl Site {
    fn delete_stores_but(&self, kept: &[&String]) {
        let described = self.kms("DescribeCustomKeyStores", &json!({})).ok();
        for store in described["CustomKeyStores"].as_array().unwrap() {
            let id = store["CustomKeyStoreId"].as_str().unwrap();
            if !kept.iter().any(|kept| *kept == id) {
                self.of_store("DeleteCustomKeyStore", id).ok();
            }
        }
    }
}

#[test]
fn a_plaintext_that_kms_never_encrypted_is_not_handed_out() {
    let (mut scene, text) = (
        Scene::new(),
        "The ciphertext that the external key store proxy submitted for decryption, \
                                            or the encryption context, is corrupted, missing, or otherwise invalid.",
    );
    for place in [0, 1, 12, 13, 20, 40] {
        let fault = change(move |body| {
            let mut value = decode_base64(body["plaintext"].as_str().unwrap()).unwrap();
            value[place] ^= 1;
            body["plaintext"] = json!(encode_base64(&value));
        });
        for operation in ["Decrypt", "ReEncryptFrom"] {
            let (reply, _) = scene.answer_under(&fault, operation);
            assert_eq!(reply.error(), ("KMSInvalidStateException".to_owned(), text.to_owned()), "{place}");
        }
    }
    scene.assert_recovers("Decrypt");
}

#[test]
fn an_external_key_of_the_wrong_kind_is_refused_with_what_it_is() {
    let mut scene = Scene::new();
    let spec = "The key spec of the external key must be AES_256. The key spec of specified external key is";
    let usage = "The key usage of the external key must include ENCRYPT and DECRYPT. The key use of specified external \
                 key is";
    let status =
        "The status of the external key must be ENABLED. The status of specified external key is DISABLED.";
    for (member, value, message) in [
        ("keySpec", json!("AES_128"), format!("{spec} AES_128.")),
        ("keySpec", json!("RSA_2048"), format!("{spec} RSA_2048.")),
        ("keyUsage", json!(["ENCRYPT"]), format!("{usage} ENCRYPT.")),
        ("keyUsage", json!(["DECRYPT", "SIGN"]), format!("{usage} DECRYPT, SIGN.")),
        ("keyStatus", json!("DISABLED"), status.to_owned()),
    ] {
        let (reply, _) = scene.answer_under(&set(member, value), "CreateKey");
        reply.assert_error("XksKeyInvalidConfigurationException", &message);
    }
    let more = set("keyUsage", json!(["SIGN", "DECRYPT", "ENCRYPT", "WRAP"]));
    scene.answer_under(&more, "CreateKey").0.ok();
}

#[test]
fn key_managers_that_are_all_out_of_service_are_no_key_store() {
    let mut scene = Scene::new();
    let fleet = |states: &[&str]| {
        let details: Vec<_> = states
            .iter()
            .enumerate()
            .map(|(id, state)| json!({"id": id.to_string(), "model": "m", "healthStatus": state}))
            .collect();
        set("ekmFleetDetails", json!(details))
    };
    let down = fleet(&["UNAVAILABLE", "UNAVAILABLE"]);
    let unhealthy = "The external key store proxy is in an unhealthy state. If you see this message repeatedly, notify \
                     your external key store proxy administrator.";
    for operation in ["CreateCustomKeyStore", "UpdateCustomKeyStore"] {
        let (reply, _) = scene.answer_under(&down, operation);
        reply.assert_error("XksProxyUriUnreachableException", unhealthy);
    }
    scene.assert_connects_not(&down, "XKS_PROXY_NOT_REACHABLE");
    for (fleet, operation) in
        [(fleet(&["UNAVAILABLE", "DEGRADED"]), "UpdateCustomKeyStore"), (fleet(&["ACTIVE"]), "Encrypt")]
    {
        scene.answer_under(&fleet, operation).0.ok();
        scene.assert_connects();
    }
}
