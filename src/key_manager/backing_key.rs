//! The seam to whatever computes with the material of KMS keys.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::kms::{
    EncryptionAlgorithm, KeptKey, KeyKind, KeySpec, MacAlgorithm, MaterialId, SigningAlgorithm, WrappedKey,
    WrappingAlgorithm, WrappingKeySpec,
};
pub use crate::domain::kms::{ROOT_KEY_ID_BYTES, RootKeyId, RootKeys};
use crate::key_manager::{Answer, Encrypted, HsmError, MemberHealth};
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

    /// Puts material under the current root key, in the HSM, where it then proves itself. It stays of
    /// its kind. A token object is under no root key: it is refused.
    fn rewrap(&self, request: ToRewrap, deadline: Instant) -> Answer<'_, KeptKey>;

    /// Seals again, under the current root key, what is bound to the same context.
    fn reseal(&self, sealed: Vec<u8>, context: Vec<u8>, deadline: Instant) -> Answer<'_, Vec<u8>>;

    /// Removes unwrapped material from the HSM, after its key was deleted.
    fn forget(&self, material: &MaterialId);

    /// Whether keys of this kind can be made; if not, names what is lacking, as the mechanism of the HSM.
    fn supports(&self, kind: KeyKind) -> Result<(), String>;

    /// The latest known health of each HSM behind this; no I/O.
    fn health(&self) -> Vec<MemberHealth>;
}

/// Root keys in the HSMs, beyond the one that is open: for whoever administers them.
pub trait RootKeyAdmin: Send + Sync {
    /// These serve from now on, as soon as a token has them.
    fn use_root_keys(&self, keys: RootKeys);

    /// Makes a root key, durably, in one HSM, which nothing uses yet.
    fn make_root_key(&self, deadline: Instant) -> Answer<'_, RootKeyId>;

    /// These serve from now on. Finds the current one, one HSM that has it is enough; a former one is looked for when
    /// it is needed.
    fn open_root_keys(&self, keys: RootKeys, deadline: Instant) -> Answer<'_, RootKeyId>;

    /// Whether each HSM has this root key, and all the same one: what each says. And a text sealed under it.
    fn prove_root_key(&self, proof: RootKeyProof, deadline: Instant) -> Proven<'_>;

    /// The root keys that are in each HSM, by name.
    fn list_root_keys(&self, deadline: Instant) -> Asked<'_, Vec<RootKeyId>>;

    /// Takes a root key out of each HSM that has it, for good. One that serves is refused.
    fn destroy_root_key(&self, id: RootKeyId, deadline: Instant) -> Asked<'_, ()>;
}

/// What proves a root key that nothing uses yet.
#[derive(Clone, Debug)]
pub struct RootKeyProof {
    pub id: RootKeyId,
    /// To be sealed under it.
    pub text: SecretBytes,
    pub context: Vec<u8>,
    /// What another HSM made with its root key of this id, which must open.
    pub witness: Option<RootKeyWitness>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeyWitness {
    pub wrapped: WrappedKey,
    pub sealed: Vec<u8>,
}

/// What each HSM says, by its name; and the sealed text, if they all have it.
pub struct ProvenRootKey {
    pub members: Vec<(String, Result<(), HsmError>)>,
    pub sealed: Option<Vec<u8>>,
}

pub type Proven<'a> = Pin<Box<dyn Future<Output = ProvenRootKey> + Send + 'a>>;

/// What each HSM answers, by its name.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Vec<(String, Result<T, HsmError>)>> + Send + 'a>>;

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

/// Material that is to come under another root key.
#[derive(Clone, Debug)]
pub struct ToRewrap {
    pub key: BackingKey,
    /// Of a key pair: what proves that it is the same one.
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
