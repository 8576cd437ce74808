//! The seam to whatever holds the keys: what can be asked of it, and what can go wrong.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::key_manager::external_key::ExternalKey;
use crate::secret::SecretBytes;

pub mod backing_key;
pub mod cluster;
pub mod external_key;
pub mod pkcs11;
mod pkcs8;
pub mod signing_key;
pub mod software;
pub mod xks;
pub mod xks_proxy;

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Done<T>> + Send + 'a>>;

/// Holds external keys and computes with them. Nothing here blocks an async thread.
pub trait KeyManager: Send + Sync {
    /// Looks an external key up in memory.
    fn find(&self, external_key_id: &str) -> Lookup;

    /// Looks again where the keys are, for a key that may have been made since; bounded in how often. An error
    /// if nobody could look: that a key is not known says nothing then.
    fn find_again<'a>(
        &'a self,
        external_key_id: &'a str,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = Result<Lookup, HsmError>> + Send + 'a>>;

    /// Encryptions made with the newest version of a key, wherever it is.
    fn invocations(&self, key: &ExternalKey) -> u64;

    fn encrypt(&self, request: Encrypt, deadline: Instant) -> Answer<'_, Encrypted>;

    fn decrypt(&self, request: Decrypt, deadline: Instant) -> Answer<'_, SecretBytes>;

    /// The latest known health of each HSM behind this; no I/O.
    fn health(&self) -> Vec<MemberHealth>;
}

/// What a search for an external key found.
#[derive(Clone, Debug)]
pub enum Lookup {
    Found(Arc<ExternalKey>),
    Missing,
    /// Several HSM keys answer to the id and nothing says which is meant.
    Ambiguous,
}

/// Encrypt with the newest version of a key.
#[derive(Clone, Debug)]
pub struct Encrypt {
    pub key: Arc<ExternalKey>,
    pub plaintext: SecretBytes,
    pub aad: BoundAad,
    /// Also compute the CDIV, then decrypt and compare (XKS v1, Appendix C).
    pub integrity_value: bool,
}

/// Decrypt with the version at this index of the key.
#[derive(Clone, Debug)]
pub struct Decrypt {
    pub key: Arc<ExternalKey>,
    pub version: usize,
    pub iv: Vec<u8>,
    /// Ciphertext with the 16-byte tag appended, as PKCS#11 wants it.
    pub ciphertext_and_tag: Vec<u8>,
    pub aad: BoundAad,
}

/// The AAD given to the HSM, and the two parts it was bound from (XKS v1, Encrypt).
#[derive(Clone, Debug)]
pub struct BoundAad {
    bytes: Vec<u8>,
    aad_bytes: usize,
}

/// Length prefix of the caller's AAD, and of the metadata.
const AAD_LENGTH_BYTES: usize = 2;
const METADATA_LENGTH_BYTES: usize = 1;

impl BoundAad {
    /// Nothing if either part is too long for its length prefix.
    pub fn new(aad: &[u8], metadata: &[u8]) -> Option<Self> {
        Some(Self { bytes: proxy_api::wire::bound_aad(aad, metadata)?, aad_bytes: aad.len() })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The caller's part.
    pub fn aad(&self) -> &[u8] {
        self.bytes.get(AAD_LENGTH_BYTES..AAD_LENGTH_BYTES + self.aad_bytes).unwrap_or_default()
    }

    /// The `ciphertextMetadata` part.
    pub fn metadata(&self) -> &[u8] {
        self.bytes.get(AAD_LENGTH_BYTES + self.aad_bytes + METADATA_LENGTH_BYTES..).unwrap_or_default()
    }
}

/// What an encryption made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    pub iv: Vec<u8>,
    pub ciphertext: Vec<u8>,
    pub tag: Vec<u8>,
    pub integrity_value: Option<[u8; 32]>,
}

/// A result, and where and for how long it was worked on.
#[derive(Clone, Debug)]
pub struct Done<T> {
    pub result: Result<T, HsmError>,
    /// The HSM that answered, or that was tried last.
    pub hsm: Option<Arc<str>>,
    pub queue_wait: Duration,
    pub hsm_time: Duration,
}

/// Why a key manager could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HsmError {
    /// The ciphertext, IV, AAD or tag is not what was made with this key.
    BadCiphertext,
    /// What was to be imported is not key material of the kind wanted.
    BadKeyMaterial,
    /// All sessions are busy, and what waits for them is too much.
    Busy,
    /// The HSM returned something wrong, which nobody has seen; says what.
    Corrupted(String),
    /// No answer in time; the HSM may still be working on it.
    DeadlineExceeded,
    /// The HSM or its library failed; names the PKCS#11 call and return code.
    Device(String),
    /// The key is no longer in the HSM.
    KeyMissing,
    /// Longer than the HSM takes in one call.
    TooLong,
    /// The HSM is out of service, for a reason known since the last probe.
    Unavailable(String),
    /// Nothing here can do it; names what is lacking.
    Unsupported(String),
    /// The key does not permit this operation.
    UsageRefused,
}

impl HsmError {
    /// The name of the variant, for spans.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BadCiphertext => "BadCiphertext",
            Self::BadKeyMaterial => "BadKeyMaterial",
            Self::Busy => "Busy",
            Self::Corrupted(_) => "Corrupted",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Device(_) => "Device",
            Self::KeyMissing => "KeyMissing",
            Self::TooLong => "TooLong",
            Self::Unavailable(_) => "Unavailable",
            Self::Unsupported(_) => "Unsupported",
            Self::UsageRefused => "UsageRefused",
        }
    }
}

impl fmt::Display for HsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCiphertext => f.write_str("the ciphertext does not match"),
            Self::BadKeyMaterial => f.write_str("it is no key material of the kind wanted"),
            Self::Busy => f.write_str("all sessions are busy"),
            Self::DeadlineExceeded => f.write_str("no answer in time"),
            Self::Corrupted(reason)
            | Self::Device(reason)
            | Self::Unavailable(reason)
            | Self::Unsupported(reason) => f.write_str(reason),
            Self::KeyMissing => f.write_str("the key is not in the HSM"),
            Self::TooLong => f.write_str("longer than the HSM takes in one call"),
            Self::UsageRefused => f.write_str("the HSM does not permit this use of the key"),
        }
    }
}

impl std::error::Error for HsmError {}

/// Health of one HSM (XKS v1, GetHealthStatus).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberHealth {
    pub id: String,
    /// Manufacturer of the token; empty before the first probe that succeeds.
    pub vendor: String,
    /// Product, hardware and firmware version.
    pub model: String,
    pub state: HealthState,
    /// Why it is not ACTIVE, for logs.
    pub reason: Option<String>,
}

/// Worst first, so that sorting puts what needs a look on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    Unavailable,
    Degraded,
    Active,
}

impl HealthState {
    pub const ALL: [&'static str; 3] = ["ACTIVE", "DEGRADED", "UNAVAILABLE"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Degraded => "DEGRADED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BoundAad, HealthState};

    #[test]
    fn worse_health_sorts_first() {
        assert!(
            HealthState::Unavailable < HealthState::Degraded && HealthState::Degraded < HealthState::Active
        );
    }

    #[test]
    fn the_parts_of_a_bound_aad_can_be_read_back() {
        let bound = BoundAad::new(b"project=nile", b"key_version=1").unwrap();
        assert_eq!((bound.aad(), bound.metadata()), (&b"project=nile"[..], &b"key_version=1"[..]));
        let empty = BoundAad::new(b"", b"").unwrap();
        assert_eq!(empty.as_bytes(), [0, 0, 0]);
        assert!(empty.aad().is_empty() && empty.metadata().is_empty());
        assert!(BoundAad::new(&[0; 65_536], b"").is_none());
    }
}
