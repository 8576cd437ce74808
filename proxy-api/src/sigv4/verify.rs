//! The last step of verification: the signature itself.

use super::canonical::string_to_sign;
use super::{Authorization, Refusal, Request, SigningKey, Timestamp};

/// A signature that is right in everything but, perhaps, itself.
pub struct Claim<'r> {
    pub(super) authorization: Authorization<'r>,
    pub(super) request: &'r Request<'r>,
    pub(super) signed_at: Timestamp,
}

impl Claim<'_> {
    /// When the request says it was signed.
    #[must_use]
    pub const fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// Whether the holder of `key` signed this request: method, path, signed headers and body.
    pub fn verify(&self, key: &SigningKey) -> Result<(), Refusal> {
        let Authorization { scope, signed_headers, signature, .. } = &self.authorization;
        let string_to_sign = string_to_sign(self.request, *signed_headers, scope, self.signed_at.as_str())?;
        if key.verifies(&string_to_sign, signature) { Ok(()) } else { Err(Refusal::SignatureMismatch) }
    }
}
