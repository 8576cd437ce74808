//! A signing key: what is left of a secret access key once date, Region and service are fixed.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

use super::{SCOPE_END, SIGNATURE_BYTES, Scope};

/// Verifies and signs within one [`Scope`]. Changes once a day, so it is worth keeping: deriving it costs more
/// than verifying with it.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// `secret_access_key` is used as its UTF-8 bytes (XKS v1, XKS proxy configuration).
    #[must_use]
    pub fn derive(secret_access_key: &[u8], scope: &Scope<'_>) -> Self {
        let mut key = Zeroizing::new(Vec::with_capacity(4 + secret_access_key.len()));
        key.extend_from_slice(b"AWS4");
        key.extend_from_slice(secret_access_key);
        let mut key = hmac::Key::new(HMAC_SHA256, &key);
        for part in [scope.date, scope.region, scope.service, SCOPE_END] {
            key = hmac::Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        Self(key)
    }

    /// In constant time.
    pub(super) fn verifies(&self, string_to_sign: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        hmac::verify(&self.0, string_to_sign, signature).is_ok()
    }

    pub(super) fn sign(&self, string_to_sign: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, string_to_sign)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}
