//! Requests that are right, for tests that make one thing of them wrong.

use serde_json::{Value, json};

use super::client::{Reply, metadata};
use super::site::Site;

/// The paths of the four operations on the key `foo`, without the prefix.
pub const PATHS: [&str; 4] = ["health", "keys/foo/metadata", "keys/foo/encrypt", "keys/foo/decrypt"];

/// The name of the operation that a path asks for.
pub fn operation_of(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("health") => "GetHealthStatus",
        Some("metadata") => "GetKeyMetadata",
        Some("encrypt") => "Encrypt",
        Some("decrypt") => "Decrypt",
        _ => panic!("{path} is no path of the API"),
    }
}

impl Site {
    /// A request that succeeds for each of [`PATHS`].
    pub fn right_requests(&self) -> [(&'static str, Value); 4] {
        let encrypted = self.encrypt("foo", b"Hello World!", json!({})).assert_ok().json();
        let [health, key_metadata, encrypt, decrypt] = PATHS;
        [
            (health, json!({"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "r"}})),
            (key_metadata, json!({"requestMetadata": metadata("CreateKey")})),
            (
                encrypt,
                json!({
                    "requestMetadata": metadata("Encrypt"),
                    "plaintext": "SGVsbG8gV29ybGQh",
                    "encryptionAlgorithm": "AES_GCM",
                }),
            ),
            (decrypt, self.decrypt_request(&encrypted, json!({}))),
        ]
    }

    /// A signed POST of these very bytes.
    pub fn post_bytes(&self, path: &str, body: impl Into<Vec<u8>>) -> Reply {
        let mut signed = self.signed(path, &Value::Null);
        signed.body = body.into();
        self.send_signed(&signed)
    }
}
