//! What a worker does with KMS keys: plain data, and the calls it takes.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::domain::kms::{KeptKey, MaterialId};
use crate::key_manager::Encrypted;
use crate::key_manager::backing_key::{
    BackingKey, DataKey, DataKeyUnder, DecryptUnder, EncryptUnder, KeyOrder, MadeKey, RootKeyId,
};
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::TAG_BYTES;
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::key_cache::UnwrappedKey;
use crate::key_manager::pkcs11::signing_key;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::vault::{Means, Vault};
use crate::key_manager::pkcs11::worker::Output;
use crate::key_manager::pkcs11::wrapping::Wrapping;
use crate::key_manager::signing_key::SignDigest;
use crate::secret::SecretBytes;

/// GenerateRandom gives as many; no data key is longer.
pub(super) const RANDOM_BYTES_MAX: usize = 1024;
/// So many are drawn at least: fewer can be all zero by chance.
const RANDOM_BYTES_MIN: usize = 32;
/// First byte of what is sealed.
const SEALED_VERSION: u8 = 1;

#[derive(Clone)]
pub(super) enum BackingTask {
    /// Without an id: make one.
    OpenRootKey(Option<RootKeyId>),
    Generate(KeyOrder),
    Encrypt(Arc<EncryptUnder>),
    Decrypt(Arc<DecryptUnder>),
    DataKey(Arc<DataKeyUnder>),
    Random(usize),
    Seal(Arc<ToSeal>),
    Unseal(Arc<Sealed>),
    MakeSigningKey,
    Sign(Arc<SignDigest>),
    /// Destroy what was discarded.
    Sweep,
}

pub(super) struct ToSeal {
    pub(super) secret: SecretBytes,
    pub(super) context: Vec<u8>,
}

pub(super) struct Sealed {
    pub(super) sealed: Vec<u8>,
    pub(super) context: Vec<u8>,
}

impl BackingTask {
    /// Its name in metrics; housekeeping has none.
    pub(super) fn operation(&self) -> Option<&'static str> {
        match self {
            Self::OpenRootKey(_) => Some("open_root_key"),
            Self::Generate(_) => Some("generate"),
            Self::Encrypt(_) => Some("encrypt_under"),
            Self::Decrypt(_) => Some("decrypt_under"),
            Self::DataKey(_) => Some("data_key"),
            Self::Random(_) => Some("random"),
            Self::Seal(_) => Some("seal"),
            Self::Unseal(_) => Some("unseal"),
            Self::MakeSigningKey => Some("make_signing_key"),
            Self::Sign(_) => Some("sign"),
            Self::Sweep => None,
        }
    }

    /// The key material it uses; without, it uses the root key.
    pub(super) fn material(&self) -> Option<&MaterialId> {
        match self {
            Self::Encrypt(request) => Some(&request.key.id),
            Self::Decrypt(request) => Some(&request.key.id),
            Self::DataKey(request) => Some(&request.key.id),
            Self::OpenRootKey(_)
            | Self::Generate(_)
            | Self::Random(_)
            | Self::Seal(_)
            | Self::Unseal(_)
            | Self::MakeSigningKey
            | Self::Sign(_)
            | Self::Sweep => None,
        }
    }
}

/// A worker's session, and what else a task needs.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) token: &'a Token,
    pub(super) vault: &'a Vault,
    pub(super) ready: Ready<'a>,
    pub(super) means: Means<'a>,
}

impl Bench<'_> {
    pub(super) fn perform(&self, task: &BackingTask) -> Result<Output, Fault> {
        match task {
            BackingTask::OpenRootKey(None) => {
                self.vault.create_root(self.ready, self.means).map(Output::RootKey)
            }
            BackingTask::OpenRootKey(Some(id)) => {
                self.vault.open_root(self.ready, self.means).map(|()| Output::RootKey(*id))
            }
            BackingTask::Generate(order) => self.generate(*order).map(Output::Made),
            BackingTask::Encrypt(request) => {
                self.encrypt(&request.key, request.plaintext.expose(), &request.aad).map(Output::Encrypted)
            }
            BackingTask::Decrypt(request) => {
                let key = self.unwrapped(&request.key)?;
                self.gcm(key.handle)
                    .decrypt(&request.iv, &request.ciphertext_and_tag, &request.aad)
                    .map(Output::Decrypted)
            }
            BackingTask::DataKey(request) => self.data_key(request).map(Output::DataKey),
            BackingTask::Random(bytes) => self.random(*bytes).map(Output::Random),
            BackingTask::Seal(request) => self.seal(request).map(Output::Sealed),
            BackingTask::Unseal(request) => self.unseal(request).map(Output::Decrypted),
            BackingTask::MakeSigningKey => {
                signing_key::make(self.token, self.ready, self.means).map(Output::SigningKey)
            }
            BackingTask::Sign(request) => signing_key::sign(request, self.ready).map(Output::Signature),
            BackingTask::Sweep => self.vault.sweep(self.means).map(|()| Output::Swept),
        }
    }

    fn unwrapped(&self, key: &BackingKey) -> Result<Arc<UnwrappedKey>, Fault> {
        self.vault.unwrapped(key, self.ready, self.means)
    }

    fn gcm(&self, handle: u64) -> Gcm<'_> {
        Gcm::with_handle(&self.means.library.gcm, self.ready.session, handle, self.token.config.iv_mode)
    }

    fn generate(&self, _order: KeyOrder) -> Result<MadeKey, Fault> {
        self.vault.ensure_open(self.ready, self.means)?;
        let (root, handle) = self.vault.root_handle(self.ready, |root| &root.wrapping)?;
        let iv_mode = self.token.config.iv_mode;
        let wrapping = Wrapping { functions: &self.means.library.gcm, ready: self.ready, handle, iv_mode };
        let wrapped = wrapping.make_key(root.proof.mechanism)?;
        Ok(MadeKey { kept: KeptKey::Wrapped(wrapped), public_key: None })
    }

    fn encrypt(&self, key: &BackingKey, plaintext: &[u8], aad: &[u8]) -> Result<Encrypted, Fault> {
        let key = self.unwrapped(key)?;
        self.gcm(key.handle).encrypt(plaintext, aad)
    }

    fn data_key(&self, request: &DataKeyUnder) -> Result<DataKey, Fault> {
        let plaintext = self.random(request.bytes)?;
        let encrypted = self.encrypt(&request.key, plaintext.expose(), &request.aad)?;
        Ok(DataKey { plaintext, encrypted })
    }

    fn random(&self, bytes: usize) -> Result<SecretBytes, Fault> {
        let mut drawn = Zeroizing::new(vec![0; bytes.max(RANDOM_BYTES_MIN)]);
        self.ready.session.generate_random_slice(&mut drawn)?;
        if drawn.iter().all(|&byte| byte == 0) {
            return Err(Fault::new(Blame::Token, "C_GenerateRandom returned zeros"));
        }
        drawn.truncate(bytes);
        Ok(SecretBytes::new(std::mem::take(&mut *drawn)))
    }

    fn sealing_key(&self) -> Result<u64, Fault> {
        self.vault.ensure_open(self.ready, self.means)?;
        Ok(self.vault.root_handle(self.ready, |root| &root.sealing)?.1)
    }

    /// Version, length of the IV, IV, ciphertext, tag.
    fn seal(&self, request: &ToSeal) -> Result<Vec<u8>, Fault> {
        let Encrypted { iv, ciphertext, tag, .. } =
            self.gcm(self.sealing_key()?).encrypt(request.secret.expose(), &request.context)?;
        let iv_bytes = u8::try_from(iv.len())
            .map_err(|_| Fault::new(Blame::Token, "the token made an IV of a wrong length"))?;
        Ok([&[SEALED_VERSION, iv_bytes], iv.as_slice(), &ciphertext, &tag].concat())
    }

    fn unseal(&self, request: &Sealed) -> Result<SecretBytes, Fault> {
        let (iv, ciphertext_and_tag) = split_sealed(&request.sealed)
            .ok_or_else(|| Fault::new(Blame::Data, "what is to be unsealed was not sealed"))?;
        self.gcm(self.sealing_key()?).decrypt(iv, ciphertext_and_tag, &request.context)
    }
}

fn split_sealed(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&version, rest) = sealed.split_first()?;
    let (&iv_bytes, rest) = rest.split_first()?;
    let (iv, ciphertext_and_tag) = rest.split_at_checked(iv_bytes.into())?;
    let is_sealed = version == SEALED_VERSION
        && proxy_api::wire::IV_BYTES.contains(&iv.len())
        && ciphertext_and_tag.len() >= TAG_BYTES;
    is_sealed.then_some((iv, ciphertext_and_tag))
}
