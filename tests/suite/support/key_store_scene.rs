//! A KMS whose key store is behind a rogue proxy, and what its operations must answer when that does wrong.

use std::path::Path;
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use proxy_api::wire::encode_base64;
use serde_json::{Value, json};

use super::external_key_stores::{credential, new_external_key, new_external_store};
use super::kms::{KmsClient, KmsReply};
use super::rogue_proxy::{Fault, RogueProxy};
use super::site::{SECRET_ACCESS_KEY, Setup, Site};

/// Two attempts of 250 ms, and what is done besides.
pub const ANSWER_TIME_MAX: Duration = Duration::from_millis(600);
pub const RECOVERY_TIME_MAX: Duration = Duration::from_secs(1);
const SECRET_TEXT: &[u8] = b"a plaintext that nobody else may see";

/// Everything that asks a proxy, but for connecting.
pub const OPERATIONS: [&str; 9] = [
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
pub struct Golden(String);

impl Golden {
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/key_store_errors.txt");
        Self(std::fs::read_to_string(path).unwrap())
    }

    #[track_caller]
    pub fn expected(&self, operation: &str, failure: &str) -> (String, String) {
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
pub struct Scene {
    pub rogue: RogueProxy,
    pub connected: String,
    pub other: String,
    key: String,
    plain: String,
    blob: String,
    plain_blob: String,
    /// Counts what must not be there twice.
    number: u32,
    pub site: Site,
}

impl Scene {
    pub fn new() -> Self {
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
    pub fn answer_under(&mut self, fault: &Fault, operation: &str) -> (KmsReply, Duration) {
        let (name, body) = self.request(operation);
        let mut client = KmsClient::open(&self.site.runtime, self.site.kms_endpoint()).unwrap();
        self.rogue.set(fault);
        let started = SystemClock.instant();
        let reply = client.call(name, &body).unwrap();
        (reply, SystemClock.instant() - started)
    }

    /// Ends the fault: the next request is served, at the latest after a second.
    #[track_caller]
    pub fn assert_recovers(&mut self, operation: &str) {
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
    pub fn assert_row(&mut self, golden: &Golden, named: &str, (fault, failure): (&Fault, &str)) {
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
        // The state says what was asked for, not how the proxy is.
        assert_eq!(self.site.connection_state(&self.connected), "CONNECTED", "{named}");
    }

    /// A connection that is asked for meanwhile fails with this code, and can be made after.
    #[track_caller]
    pub fn assert_connects_not(&mut self, fault: &Fault, code: &str) {
        self.rogue.set(fault);
        assert_eq!(self.site.try_connect_store(&self.other), format!("FAILED {code}"));
        self.site.disconnect_store(&self.other);
    }

    #[track_caller]
    pub fn assert_connects(&self) {
        self.site.connect_store(&self.other);
        self.site.disconnect_store(&self.other);
    }

    /// No log line and no metric has what was encrypted or what signs.
    #[track_caller]
    pub fn assert_nothing_leaked(&self) {
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
