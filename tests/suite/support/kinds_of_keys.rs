//! Keys of every kind, and OpenSSL's opinion of what they make.

use std::process::{Command, Output};

use holdfast::domain::kms::{KeySpec, KeyUsage};
use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use super::kms::KmsReply;
use super::site::Site;

/// What is signed, tagged and encrypted in tests.
pub const MESSAGE: &[u8] = b"a message";

/// Every kind that can be made outside China Regions.
pub fn kinds() -> Vec<(KeySpec, KeyUsage)> {
    let all = KeySpec::ALL.iter().flat_map(|spec| KeyUsage::ALL.iter().map(|usage| (*spec, *usage)));
    all.filter(|(spec, usage)| spec.permits(*usage) && *spec != KeySpec::Sm2).collect()
}

impl Site {
    /// The id of a new key of this kind.
    pub fn create_key_of(&self, spec: &str, usage: &str) -> String {
        self.create_key_with(&json!({"KeySpec": spec, "KeyUsage": usage}))
    }

    /// SubjectPublicKeyInfo of a key pair, in DER.
    pub fn public_key_of(&self, key: &str) -> Vec<u8> {
        self.kms("GetPublicKey", &json!({"KeyId": key})).bytes("PublicKey")
    }

    /// Whether the program succeeds, and what it prints.
    pub fn openssl(&self, arguments: &[&str]) -> (bool, Vec<u8>) {
        let Output { status, stdout, stderr } =
            Command::new("openssl").current_dir(self.path("")).args(arguments).output().unwrap();
        if !status.success() {
            eprintln!("openssl {arguments:?}: {}", String::from_utf8_lossy(&stderr));
        }
        (status.success(), stdout)
    }

    /// What the program prints, which has to succeed.
    pub fn openssl_ok(&self, arguments: &[&str]) -> Vec<u8> {
        let (is_ok, output) = self.openssl(arguments);
        assert!(is_ok, "{arguments:?}");
        output
    }

    /// Puts bytes where [`Site::openssl`] finds them.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

impl KmsReply {
    /// A Base64 member of an answer.
    pub fn bytes(&self, member: &str) -> Vec<u8> {
        decode_base64(&self.text(member)).unwrap()
    }
}

pub fn base64(bytes: &[u8]) -> Value {
    json!(encode_base64(bytes))
}
