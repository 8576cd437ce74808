//! The seam to whatever computes with the material of KMS keys.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::kms::{
    EncryptionAlgorithm, KeptKey, KeyKind, KeySpec, MacAlgorithm, MaterialId, SigningAlgorithm, WrappedKey,
    WrappingAlgorithm, WrappingKeySpec,
};
use crate::key_manager::{Answer, Encrypted, MemberHealth};
use crate::secret::SecretBytes;

/// Makes key material inside the HSM and computes with it. Material leaves the HSM only wrapped by the root key, a
/// token key that is sensitive and not extractable; [`KeptKey`] tells what else there is. Nothing here blocks an async
/// thread.
pub trait BackingKeys: Send + Sync {
    /// Finds the root key with this id; without an id makes one, durably, and returns its id. Every other verb
    /// fails until this has succeeded once.
    fn open_root_key(&self, id: Option<RootKeyId>, deadline: Instant) -> Answer<'_, RootKeyId>;

    /// Makes fresh key material. `HsmError::Unsupported` if [`BackingKeys::supports`] says no.
    fn generate(&self, order: KeyOrder, deadline: Instant) -> Answer<'_, MadeKey>;

    /// Whatever a key computes besides AES-GCM. `HsmError::Unsupported` if the HSM lacks the algorithm.
    fn compute(&self, request: ComputeUnder, deadline: Instant) -> Answer<'_, SecretBytes>;

    /// Makes a key pair for the caller (GenerateDataKeyPair).
    fn generate_key_pair(&self, spec: KeySpec, deadline: Instant) -> Answer<'_, KeyPair>;

    /// Makes a key pair that material to import is wrapped with.
    fn generate_wrapping_key(&self, spec: WrappingKeySpec, deadline: Instant) -> Answer<'_, WrappingKey>;

    /// Unwraps material that was wrapped for import, and keeps it as if it had been made here.
    fn import(&self, request: ToImport, deadline: Instant) -> Answer<'_, ImportedKey>;

    /// Destroys what is in the HSM of material that no key has any more. Material that is kept outside is forgotten.
    fn destroy(&self, key: BackingKey, deadline: Instant) -> Answer<'_, ()>;

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

    /// Whether keys of this kind can be made; if not, names what is lacking, as the mechanism of the HSM.
    fn supports(&self, kind: KeyKind) -> Result<(), String>;

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
    pub kind: KeyKind,
    pub kept: Arc<KeptKey>,
}

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct KeyOrder {
    /// Names a token object.
    pub id: MaterialId,
    pub kind: KeyKind,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeKey {
    pub kept: KeptKey,
    /// SubjectPublicKeyInfo in DER (RFC 5280), of a key pair.
    pub public_key: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub struct ComputeUnder {
    pub key: BackingKey,
    pub computation: Computation,
}

/// What a key computes besides AES-GCM. What fits the kind of key and the lengths of the KMS API was checked before.
#[derive(Clone, Debug)]
pub enum Computation {
    /// A signature: of RSA as PKCS #1 has it, of ECDSA in DER (RFC 3279), of EdDSA and ML-DSA as their standards have it.
    Sign { algorithm: SigningAlgorithm, input: ToSign },
    /// A tag of full length (RFC 2104).
    Mac { algorithm: MacAlgorithm, message: SecretBytes },
    /// RSAES-OAEP with an empty label; `HsmError::BadCiphertext` for every ciphertext that is not right.
    DecryptOaep { algorithm: EncryptionAlgorithm, ciphertext: Vec<u8> },
    /// The raw shared secret of ECDH: the x-coordinate. `peer` is a SubjectPublicKeyInfo on the curve of the key.
    Agree { peer: Vec<u8> },
    /// The shared secret of ML-KEM (FIPS 203); a wrong ciphertext of the right length gives another secret.
    Decapsulate { ciphertext: Vec<u8> },
}

/// What is signed.
#[derive(Clone, Debug)]
pub enum ToSign {
    /// Of the algorithm's hash.
    Digest(Vec<u8>),
    /// For EdDSA and ML-DSA, which sign messages (ML-DSA with an empty context).
    Message(SecretBytes),
    /// For ML-DSA (FIPS 204, algorithm 7).
    ExternalMu([u8; EXTERNAL_MU_BYTES]),
}

pub const EXTERNAL_MU_BYTES: usize = 64;

/// A key pair for its caller.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// PKCS #8 in DER (RFC 5208).
    pub private_key: SecretBytes,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

/// A key pair whose private key unwraps what is imported.
#[derive(Clone, Debug)]
pub struct WrappingKey {
    pub private_key: WrappedKey,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

/// Wrapped material, and what it is to become.
#[derive(Clone, Debug)]
pub struct ToImport {
    pub wrapping_key: WrappedKey,
    pub wrapping_key_spec: WrappingKeySpec,
    pub algorithm: WrappingAlgorithm,
    pub encrypted: Vec<u8>,
    pub order: KeyOrder,
}

#[derive(Clone, Debug)]
pub struct ImportedKey {
    pub made: MadeKey,
    /// The same for the same material of the same kind, whichever HSM took it, and for no other.
    pub fingerprint: SecretBytes,
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
