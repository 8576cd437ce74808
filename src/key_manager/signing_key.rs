//! The seam to keys that sign what the daemon says of itself.

use std::fmt;
use std::time::Instant;

use crate::key_manager::Answer;

/// Key pairs on P-256 whose private keys never leave the HSM. Nothing here blocks an async thread.
pub trait SigningKeys: Send + Sync {
    /// Makes a key pair, durably.
    fn make_signing_key(&self, deadline: Instant) -> Answer<'_, SigningKey>;

    /// An ECDSA signature in DER.
    fn sign(&self, request: SignDigest, deadline: Instant) -> Answer<'_, Vec<u8>>;
}

/// The `CKA_ID` of a key pair: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningKeyId(pub [u8; SIGNING_KEY_ID_BYTES]);

pub const SIGNING_KEY_ID_BYTES: usize = 16;

/// A key pair, as far as others may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    pub id: SigningKeyId,
    /// SubjectPublicKeyInfo in DER (RFC 5280).
    pub public_key: Vec<u8>,
}

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct SignDigest {
    pub key: SigningKeyId,
    /// SHA-256.
    pub digest: [u8; 32],
}

impl fmt::Display for SigningKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl SigningKey {
    /// As the store keeps it: the id, and then the public key.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.id.0.as_slice(), &self.public_key].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, public_key) = bytes.split_at_checked(SIGNING_KEY_ID_BYTES)?;
        Some(Self { id: SigningKeyId(id.try_into().ok()?), public_key: public_key.to_vec() })
    }
}
