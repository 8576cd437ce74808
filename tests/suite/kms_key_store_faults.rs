//! What goes wrong between the KMS API and the proxy of an external key store, and what its callers are told: the
//! documented exception with its exact text, soon, and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::clock::{Clock, SystemClock};
use proxy_api::error::ErrorName;
use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::external_key_stores::{credential, new_external_key, new_external_store};
use crate::support::kms::{KmsClient, KmsReply};
use crate::support::rogue_proxy::{Change, Fault, RogueProxy};
use crate::support::site::{SECRET_ACCESS_KEY, Setup, Site};

/// Two attempts of 250 ms, and what is done besides.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(600);
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(1);
const SECRET_TEXT: &[u8] = b"a plaintext that nobody else may see";

/// Everything that asks a proxy, but for connecting.
const OPERATIONS: [&str; 9] = [
    "Encrypt",
    "Decrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "CreateKey",
    "CreateCustomKeyStore",
    "UpdateCustomKeyStore",
];

/// The texts that the golden file has for a failure: exception and message by what was being done.
struct Golden(String);

impl Golden {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/key_store_errors.txt");
        Self(std::fs::read_to_string(path).unwrap())
    }

    #[track_caller]
    fn expected(&self, operation: &str, failure: &str) -> (String, String) {
        let doing = match operation {
            "CreateKey" => "CreateKey",
            "CreateCustomKeyStore" | "UpdateCustomKeyStore" => "Management",
            _ => "Cryptography",
        };
        let head = format!("{doing}: {failure}");
        let mut lines = self.0.lines().skip_while(|line| *line != head);
        let line = lines.nth(1).unwrap_or_else(|| panic!("no {head} in the golden file"));
        let (status, rest) = line.trim_start().split_once(' ').unwrap();
        assert_eq!(status, "400");
        let (name, message) = rest.split_once(' ').unwrap();
        (name.to_owned(), message.to_owned())
    }
}

/// A KMS with a connected key store behind a rogue proxy, and one that is not connected.
struct Scene {
    rogue: RogueProxy,
    connected: String,
    other: String,
    key: String,
    plain: String,
    blob: String,
    plain_blob: String,
    /// Counts what must not be there twice.
    number: u32,
    site: Site,
}

impl Scene {
    fn new() -> Self {
        let site = Site::prepare(&Setup::kms_with_proxies("ca.pem", ""));
        site.add_key_store("second", "");
        site.add_key_store("third", "");
        site.run();
        site.wait_ready();
        let rogue = RogueProxy::start(&site);
        let connected = site.connected_external_store("connected", &rogue.endpoint());
        let mut request = new_external_store("other", &rogue.endpoint());
        request["XksProxyUriPath"] = json!("/second/kms/xks/v1");
        let other = site.create_store(&request);
        let (key, plain) = (site.create_external_key(&connected, "foo"), site.create_kms_key());
        let encrypt = |key: &str| {
            let body = json!({"KeyId": key, "Plaintext": encode_base64(SECRET_TEXT)});
            site.kms("Encrypt", &body).text("CiphertextBlob")
        };
        let (blob, plain_blob) = (encrypt(&key), encrypt(&plain));
        Self { rogue, connected, other, key, plain, blob, plain_blob, number: 0, site }
    }

    /// A request that would succeed.
    fn request(&mut self, operation: &str) -> (&'static str, Value) {
        self.number += 1;
        let key = &self.key;
        match operation {
            "Encrypt" => ("Encrypt", json!({"KeyId": key, "Plaintext": encode_base64(SECRET_TEXT)})),
            "Decrypt" => ("Decrypt", json!({"CiphertextBlob": self.blob})),
            "GenerateDataKey" => ("GenerateDataKey", json!({"KeyId": key, "KeySpec": "AES_256"})),
            "GenerateDataKeyWithoutPlaintext" => {
                ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": key, "KeySpec": "AES_256"}))
            }
            "ReEncryptFrom" => {
                ("ReEncrypt", json!({"CiphertextBlob": self.blob, "DestinationKeyId": self.plain}))
            }
            "ReEncryptTo" => {
                ("ReEncrypt", json!({"CiphertextBlob": self.plain_blob, "DestinationKeyId": key}))
            }
            "CreateKey" => {
                ("CreateKey", new_external_key(&self.connected, &format!("spare-{}", self.number)))
            }
            "CreateCustomKeyStore" => {
                let name = format!("store {}", self.number);
                let mut request = new_external_store(&name, &self.rogue.endpoint());
                request["XksProxyUriPath"] = json!("/third/kms/xks/v1");
                ("CreateCustomKeyStore", request)
            }
            "UpdateCustomKeyStore" => {
                let update = json!({
                    "CustomKeyStoreId": self.connected, "XksProxyAuthenticationCredential": credential(),
                });
                ("UpdateCustomKeyStore", update)
            }
            other => panic!("{other}?"),
        }
    }

    /// What is answered while the fault lasts, and how soon.
    fn answer_under(&mut self, fault: &Fault, operation: &str) -> (KmsReply, Duration) {
        let (name, body) = self.request(operation);
        let mut client = KmsClient::open(&self.site.runtime, self.site.kms_endpoint()).unwrap();
        self.rogue.set(fault);
        let started = SystemClock.instant();
        let reply = client.call(name, &body).unwrap();
        (reply, SystemClock.instant() - started)
    }

    /// Ends the fault: the next request is served, at the latest after a second.
    #[track_caller]
    fn assert_recovers(&mut self, operation: &str) {
        self.rogue.set(&Fault::None);
        let (name, body) = self.request(operation);
        let ended = SystemClock.instant();
        let reply = loop {
            let reply = self.site.kms(name, &body);
            if reply.0.status == 200 {
                break reply;
            }
            let after = SystemClock.instant() - ended;
            assert!(after < RECOVERY_TIME_MAX, "{operation}: {:?}", reply.error());
        };
        if operation == "CreateCustomKeyStore" {
            self.site.of_store("DeleteCustomKeyStore", &reply.text("CustomKeyStoreId")).ok();
        }
    }

    /// How many keys and key stores there are.
    fn counts(&self) -> (usize, usize) {
        let count = |operation: &str, member: &str| {
            self.site.kms(operation, &json!({})).ok()[member].as_array().unwrap().len()
        };
        (count("ListKeys", "Keys"), count("DescribeCustomKeyStores", "CustomKeyStores"))
    }

    /// One row of the table.
    #[track_caller]
    fn assert_row(&mut self, golden: &Golden, named: &str, (fault, failure): (&Fault, &str)) {
        let counts = self.counts();
        for operation in OPERATIONS {
            let (reply, took) = self.answer_under(fault, operation);
            let (name, message) = golden.expected(operation, failure);
            assert_eq!(reply.0.status, 400, "{operation}, {named}");
            assert_eq!(reply.error(), (name, message), "{operation}, {named}");
            let body: Value = serde_json::from_slice(&reply.0.body).unwrap();
            assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
            assert!(took < ANSWER_TIME_MAX, "{operation}, {named}: {took:?}");
        }
        assert_eq!(self.counts(), counts, "{named} left something half done");
    }

    /// A connection that is asked for meanwhile fails with this code, and can be made after.
    #[track_caller]
    fn assert_connects_not(&mut self, fault: &Fault, code: &str) {
        self.rogue.set(fault);
        assert_eq!(self.site.try_connect_store(&self.other), format!("FAILED {code}"));
        self.site.disconnect_store(&self.other);
    }

    #[track_caller]
    fn assert_connects(&self) {
        self.site.connect_store(&self.other);
        self.site.disconnect_store(&self.other);
    }

    /// No log line and no metric has what was encrypted or what signs.
    #[track_caller]
    fn assert_nothing_leaked(&self) {
        let metrics = self.site.admin("/metrics").unwrap().1;
        for text in [self.site.log(), metrics] {
            let secret_text = String::from_utf8(SECRET_TEXT.to_vec()).unwrap();
            for secret in [secret_text, encode_base64(SECRET_TEXT), SECRET_ACCESS_KEY.to_owned()] {
                let line = text.lines().find(|line| line.contains(&secret));
                assert_eq!(line, None);
            }
        }
    }
}

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
            let before = scene.rogue.requests();
            scene.answer_under(&fault, operation);
            assert_eq!(scene.rogue.requests(), before + 1, "{operation}");
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

/// Waits for a condition, but no longer than a fault may take to be over.
#[track_caller]
fn assert_soon(what: &str, ended: Instant, condition: impl Fn() -> bool) {
    while !condition() {
        assert!(SystemClock.instant() - ended < RECOVERY_TIME_MAX, "{what}");
    }
}

#[test]
fn faults_of_the_hsm_behind_the_proxy_are_faults_of_the_key_manager() {
    let golden = Golden::read();
    let limits = "request_deadline_ms = 200".to_owned();
    let proxy = Site::start_with(&Setup { limits, ..Setup::quiet(2) });
    let site = Site::start_with(&Setup::kms_with_proxies(proxy.path("ca.pem").to_str().unwrap(), ""));
    let store = site.connected_external_store("story", &proxy.proxy_endpoint());
    let (key, plain) = (site.create_external_key(&store, "foo"), site.create_kms_key());
    let (blob, plain_blob) = (site.kms_encrypt(&key), site.kms_encrypt(&plain));
    for (function, requests) in [
        (
            "C_Encrypt",
            [
                ("Encrypt", json!({"KeyId": key, "Plaintext": "cGxhaW4="})),
                ("GenerateDataKey", json!({"KeyId": key, "KeySpec": "AES_256"})),
                ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": key, "KeySpec": "AES_256"})),
                ("ReEncrypt", json!({"CiphertextBlob": plain_blob, "DestinationKeyId": key})),
            ]
            .to_vec(),
        ),
        (
            "C_Decrypt",
            [
                ("Decrypt", json!({"CiphertextBlob": blob})),
                ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": plain})),
            ]
            .to_vec(),
        ),
    ] {
        for (operation, body) in requests {
            for (fault, failure) in
                [("code=CKR_DEVICE_ERROR", "InternalException"), ("hang", "DependencyTimeoutException")]
            {
                proxy.inject(&format!("{function} {fault}"));
                let started = SystemClock.instant();
                let reply = site.kms(operation, &body);
                let took = SystemClock.instant() - started;
                proxy.inject("");
                let ended = SystemClock.instant();
                assert_eq!(reply.error(), golden.expected(operation, failure), "{operation} {fault}");
                assert!(took < ANSWER_TIME_MAX, "{operation} {fault}: {took:?}");
                assert_soon(operation, ended, || site.kms(operation, &body).0.status == 200);
            }
        }
    }
}

#[test]
fn a_proxy_whose_hsm_is_gone_is_no_key_store_until_it_is_back() {
    let proxy =
        Site::start_with(&Setup { health: "probe_interval_seconds = 1".to_owned(), ..Setup::default() });
    let site = Site::start_with(&Setup::kms_with_proxies(proxy.path("ca.pem").to_str().unwrap(), ""));
    let store = site.create_external_store("story", &proxy.proxy_endpoint());
    let update = json!({"XksProxyAuthenticationCredential": credential()});
    let away = proxy.take_away(&proxy.token_folder("holdfast"));
    proxy.wait_until("the outage", || proxy.health().json().to_string().contains("UNAVAILABLE"));
    site.update_store(&store, update.clone()).assert_error(
        "XksProxyUriUnreachableException",
        "The external key store proxy is in an unhealthy state. If you see this message repeatedly, notify your \
         external key store proxy administrator.",
    );
    assert_eq!(site.try_connect_store(&store), "FAILED XKS_PROXY_NOT_REACHABLE");
    away.put_back();
    proxy.wait_until("the return", || !proxy.health().json().to_string().contains("UNAVAILABLE"));
    site.update_store(&store, update).ok();
    site.disconnect_store(&store);
    site.connect_store(&store);
    let key = site.create_external_key(&store, "foo");
    site.kms_encrypt(&key);
}

#[test]
fn a_fault_of_the_hsm_of_kms_is_neither_the_proxys_nor_does_it_hear_of_it() {
    let keys = vec![("bar".to_owned(), "encrypt,decrypt".to_owned())];
    let proxy = Site::start_with(&Setup { keys, ..Setup::default() });
    let setup = Setup::kms_with_proxies(proxy.path("ca.pem").to_str().unwrap(), "");
    let Setup { hsm, health, .. } = Setup::quiet(2);
    let site = Site::start_with(&Setup { shim: true, hsm, health, ..setup });
    let store = site.connected_external_store("story", &proxy.proxy_endpoint());
    let key = site.create_external_key(&store, "foo");
    let blob = site.kms_encrypt(&key);
    let internal = ("KMSInternalException".to_owned(), "internal error".to_owned());
    for (operation, function, body) in [
        ("Encrypt", "C_Encrypt", json!({"KeyId": key, "Plaintext": "cGxhaW4="})),
        ("GenerateDataKey", "C_GenerateRandom", json!({"KeyId": key, "KeySpec": "AES_256"})),
        ("CreateKey", "C_GenerateKey", new_external_key(&store, "bar")),
        ("Decrypt", "C_Decrypt", json!({"CiphertextBlob": blob})),
    ] {
        site.inject(&format!("{function} code=CKR_DEVICE_ERROR"));
        let reply = site.kms(operation, &body);
        assert_eq!(reply.error(), internal, "{operation}");
        site.inject("");
        let id = reply.0.headers["x-amzn-requestid"].to_str().unwrap();
        let heard = proxy.proxy_requests().iter().any(|(_, heard)| heard == id);
        // To decrypt, the proxy comes first; for a new key, it says what kind of key that is.
        assert!(!heard || matches!(operation, "CreateKey" | "Decrypt"), "{operation}");
        site.wait_until(operation, || site.kms_decrypt_status(&blob) == 200);
    }
    assert_eq!(site.kms("ListKeys", &json!({})).ok()["Keys"].as_array().unwrap().len(), 1);
    // Nobody can sign for the proxy while the credential cannot be opened.
    site.disconnect_store(&store);
    assert!(site.stop().success());
    site.run();
    site.wait_ready();
    site.inject("C_Decrypt code=CKR_DEVICE_ERROR");
    assert_eq!(site.try_connect_store(&store), "FAILED INTERNAL_ERROR");
    site.inject("");
    site.disconnect_store(&store);
    site.connect_store(&store);
}

impl Site {
    fn kms_decrypt_status(&self, blob: &str) -> u16 {
        self.kms("Decrypt", &json!({"CiphertextBlob": blob})).0.status
    }
}
