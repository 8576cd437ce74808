//! The seam to whatever computes with the material of KMS keys.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::kms::{KeySpec, MaterialId, WrappedKey};
use crate::key_manager::{Answer, Encrypted, MemberHealth};
use crate::secret::SecretBytes;

/// Makes key material inside the HSM and computes with it. Material leaves the HSM only wrapped by the root key, a
/// token key that is sensitive and not extractable. Nothing here blocks an async thread.
pub trait BackingKeys: Send + Sync {
    /// Finds the root key with this id; without an id makes one, durably, and returns its id. Every other verb
    /// fails until this has succeeded once.
    fn open_root_key(&self, id: Option<RootKeyId>, deadline: Instant) -> Answer<'_, RootKeyId>;

    /// Makes fresh key material of this kind.
    fn generate(&self, spec: KeySpec, deadline: Instant) -> Answer<'_, WrappedKey>;

    /// AES-256-GCM with a fresh IV.
    fn encrypt(&self, request: EncryptUnder, deadline: Instant) -> Answer<'_, Encrypted>;

    /// AES-256-GCM.
    fn decrypt(&self, request: DecryptUnder, deadline: Instant) -> Answer<'_, SecretBytes>;

    /// Fresh random bytes, in the clear and encrypted, in one job.
    fn generate_data_key(&self, request: DataKeyUnder, deadline: Instant) -> Answer<'_, DataKey>;

    /// Bytes from the generator of the HSM (`C_GenerateRandom`).
    fn random(&self, bytes: usize, deadline: Instant) -> Answer<'_, SecretBytes>;

    /// Encrypts a secret of the daemon under the root key, bound to `context`.
    fn seal(&self, secret: SecretBytes, context: Vec<u8>, deadline: Instant) -> Answer<'_, Vec<u8>>;

    /// Opens what [`BackingKeys::seal`] made with the same context.
    fn unseal(&self, sealed: Vec<u8>, context: Vec<u8>, deadline: Instant) -> Answer<'_, SecretBytes>;

    /// Removes unwrapped material from the HSM, after its key was deleted.
    fn forget(&self, material: &MaterialId);

    /// Whether this kind of key can be made, if the HSM is well; if not, says what is lacking.
    fn supports(&self, spec: KeySpec) -> Result<(), String>;

    /// The latest known health of each HSM behind this; no I/O.
    fn health(&self) -> Vec<MemberHealth>;
}

/// The `CKA_ID` of a root key: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootKeyId(pub [u8; ROOT_KEY_ID_BYTES]);

pub const ROOT_KEY_ID_BYTES: usize = 16;

/// Key material, and the name under which it may already be in the HSM.
#[derive(Clone, Debug)]
pub struct BackingKey {
    pub id: MaterialId,
    pub wrapped: Arc<WrappedKey>,
}

#[derive(Clone, Debug)]
pub struct EncryptUnder {
    pub key: BackingKey,
    pub plaintext: SecretBytes,
    pub aad: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct DecryptUnder {
    pub key: BackingKey,
    pub iv: Vec<u8>,
    /// Ciphertext with the 16-byte tag appended, as PKCS#11 wants it.
    pub ciphertext_and_tag: Vec<u8>,
    pub aad: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct DataKeyUnder {
    pub key: BackingKey,
    pub bytes: usize,
    pub aad: Vec<u8>,
}

/// A data key in both forms.
#[derive(Clone, Debug)]
pub struct DataKey {
    pub plaintext: SecretBytes,
    pub encrypted: Encrypted,
}
