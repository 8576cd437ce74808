//! What a worker does with KMS keys: plain data, and the calls it takes.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::domain::kms::{KeptKey, KeySpec, MaterialId, SealedParts};
use crate::key_manager::Encrypted;
use crate::key_manager::backing_key::{
    BackingKey, ComputeUnder, DataKey, DataKeyUnder, DecryptUnder, EncryptUnder, ImportedKey, KeyOrder,
    MadeKey, RootKeyId, RootKeyProof, ToImport, ToRewrap, WrappingKey,
};
use crate::key_manager::pkcs11::capabilities::Capabilities;
use crate::key_manager::pkcs11::computing::Computing;
use crate::key_manager::pkcs11::data_key_pair;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::TAG_BYTES;
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::importing::Importing;
use crate::key_manager::pkcs11::key_cache::UnwrappedKey;
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves};
use crate::key_manager::pkcs11::making::Making;
use crate::key_manager::pkcs11::root_key;
use crate::key_manager::pkcs11::signing_key;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::token_object;
use crate::key_manager::pkcs11::vault::{Means, RootOf, Vault};
use crate::key_manager::pkcs11::worker::Output;
use crate::key_manager::pkcs11::wrapping::{Temporary, Wrapping};
use crate::key_manager::signing_key::SignDigest;
use crate::secret::SecretBytes;

/// GenerateRandom gives as many; no data key is longer.
pub(super) const RANDOM_BYTES_MAX: usize = 1024;
/// So many are drawn at least: fewer can be all zero by chance.
const RANDOM_BYTES_MIN: usize = 32;

#[derive(Clone)]
pub(super) enum BackingTask {
    /// Without an id: make one.
    OpenRootKey(Option<RootKeyId>),
    Generate(KeyOrder),
    Compute(Arc<ComputeUnder>),
    /// Destroy the token object of this material.
    Destroy(MaterialId),
    KeyPair(KeySpec),
    WrappingKey(KeySpec),
    Import(Arc<ToImport>),
    /// A key of the software provider.
    MakeSoftware(KeyOrder),
    ImportSoftware(Arc<ToImport>),
    Encrypt(Arc<EncryptUnder>),
    Decrypt(Arc<DecryptUnder>),
    DataKey(Arc<DataKeyUnder>),
    Random(usize),
    Seal(Arc<ToSeal>),
    Unseal(Arc<Sealed>),
    MakeSigningKey,
    Sign(Arc<SignDigest>),
    /// Destroy what was discarded, this too.
    Sweep(Option<MaterialId>),
    /// Put material under the current root key.
    Rewrap(Arc<ToRewrap>),
    /// Put a sealed secret under it.
    Reseal(Arc<Sealed>),
    ListRootKeys,
    ProveRootKey(Arc<RootKeyProof>),
    DestroyRootKey(RootKeyId),
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
            Self::Compute(request) if request.key.kept.is_software() => Some("compute_in_software"),
            Self::Compute(_) => Some("compute"),
            Self::Destroy(_) => Some("destroy"),
            Self::KeyPair(_) => Some("key_pair"),
            Self::WrappingKey(_) => Some("wrapping_key"),
            Self::Import(_) | Self::ImportSoftware(_) => Some("import"),
            Self::MakeSoftware(_) => Some("generate_in_software"),
            Self::Encrypt(_) => Some("encrypt_under"),
            Self::Decrypt(_) => Some("decrypt_under"),
            Self::DataKey(_) => Some("data_key"),
            Self::Random(_) => Some("random"),
            Self::Seal(_) => Some("seal"),
            Self::Unseal(_) => Some("unseal"),
            Self::MakeSigningKey => Some("make_signing_key"),
            Self::Sign(_) => Some("sign"),
            Self::Rewrap(_) => Some("rewrap"),
            Self::Reseal(_) => Some("reseal"),
            Self::ListRootKeys | Self::ProveRootKey(_) | Self::DestroyRootKey(_) | Self::Sweep(_) => None,
        }
    }

    /// Whether it takes as long as it takes: making a key of 4096 bits can take seconds.
    pub(super) const fn is_lengthy(&self) -> bool {
        matches!(self, Self::Generate(_) | Self::Import(_) | Self::KeyPair(_) | Self::WrappingKey(_))
    }

    /// The key material it uses; without, it uses the root key.
    pub(super) fn material(&self) -> Option<&MaterialId> {
        match self {
            Self::Encrypt(request) => Some(&request.key.id),
            Self::Decrypt(request) => Some(&request.key.id),
            Self::DataKey(request) => Some(&request.key.id),
            Self::Compute(request) => Some(&request.key.id),
            Self::OpenRootKey(_)
            | Self::Destroy(_)
            | Self::Generate(_)
            | Self::Import(_)
            | Self::ImportSoftware(_)
            | Self::KeyPair(_)
            | Self::MakeSoftware(_)
            | Self::WrappingKey(_)
            | Self::Random(_)
            | Self::Seal(_)
            | Self::Unseal(_)
            | Self::MakeSigningKey
            | Self::Sign(_)
            | Self::Rewrap(_)
            | Self::Reseal(_)
            | Self::ListRootKeys
            | Self::ProveRootKey(_)
            | Self::DestroyRootKey(_)
            | Self::Sweep(_) => None,
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
                self.vault.open_root(*id, self.ready, self.means).map(|()| Output::RootKey(*id))
            }
            BackingTask::Generate(order) => self.generate(*order).map(Output::Made),
            BackingTask::Compute(request) => self.compute(request).map(Output::Computed),
            BackingTask::KeyPair(spec) => {
                self.making(|making| data_key_pair::generate(making, *spec)).map(Output::KeyPair)
            }
            BackingTask::WrappingKey(spec) => self.wrapping_key(*spec).map(Output::WrappingKey),
            BackingTask::Import(request) => self.import(request).map(Output::Imported),
            BackingTask::MakeSoftware(order) => self.make_software(*order).map(Output::Made),
            BackingTask::ImportSoftware(request) => self.import_software(request).map(Output::Imported),
            BackingTask::Destroy(id) => {
                token_object::destroy(id, self.token, self.means).map(|()| Output::Destroyed(()))
            }
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
            BackingTask::Seal(request) => self.seal(&request.secret, &request.context).map(Output::Sealed),
            BackingTask::Unseal(request) => {
                self.unseal(&request.sealed, &request.context).map(Output::Decrypted)
            }
            BackingTask::MakeSigningKey => {
                signing_key::make(self.token, self.ready, self.means).map(Output::SigningKey)
            }
            BackingTask::Sign(request) => signing_key::sign(request, self.ready).map(Output::Signature),
            BackingTask::Rewrap(request) => self.rewrap(request).map(Output::Rewrapped),
            BackingTask::Reseal(request) => {
                self.reseal(&request.sealed, &request.context).map(Output::Sealed)
            }
            BackingTask::ListRootKeys => root_key::list(self.ready).map(Output::RootKeys),
            BackingTask::ProveRootKey(proof) => self.prove_root_key(proof).map(Output::Witness),
            BackingTask::DestroyRootKey(id) => {
                root_key::destroy(id, self.token, self.means).map(|()| Output::Destroyed(()))
            }
            BackingTask::Sweep(discarded) => {
                if let Some(material) = discarded {
                    self.vault.discard(material);
                }
                self.vault.sweep(self.means).map(|()| Output::Swept)
            }
        }
    }

    fn unwrapped(&self, key: &BackingKey) -> Result<Arc<UnwrappedKey>, Fault> {
        self.vault.unwrapped(key, self.ready, self.means)
    }

    pub(super) fn gcm(&self, handle: u64) -> Gcm<'_> {
        Gcm::with_handle(&self.means.library.functions, self.ready.session, handle, self.token.config.iv_mode)
    }

    /// What makes keys, with the root key.
    pub(super) fn making<T>(&self, make: impl FnOnce(&Making<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let id = self.vault.ensure_open(RootOf::New, self.ready, self.means)?;
        let (root, handle) = self.vault.root_handle(&id, self.ready, |root| &root.wrapping)?;
        let iv_mode = self.token.config.iv_mode;
        let functions = &self.means.library.functions;
        let wrapping = Wrapping { functions, ready: self.ready, root_key: id, handle, iv_mode };
        let capabilities = self.vault.capabilities();
        make(&Making { wrapping, capabilities: &capabilities, mechanism: root.proof.mechanism })
    }

    /// A kind of key that the token refuses is refused from then on.
    fn generate(&self, order: KeyOrder) -> Result<MadeKey, Fault> {
        let form = KeyForm::of(order.kind);
        self.making(|making| {
            if let Some(mechanism) = making.capabilities.lacks(form) {
                return Err(self.lacking(&mechanism));
            }
            let made = match making.make(form) {
                Err(fault) if form.is_pair() && fault.is_not_wrappable() => {
                    token_object::make(making, (form, &order.id), (self.token, self.means))
                }
                made => made,
            };
            made.map_err(|fault| {
                if fault.blame != Blame::Unsupported {
                    return fault;
                }
                let mechanism = format!("what {} takes: {}", form.spec, fault.what);
                making.capabilities.refuse(form.spec, &mechanism);
                Fault { what: self.lacking(&mechanism).what, ..fault }
            })
        })
    }

    fn wrapping_key(&self, spec: KeySpec) -> Result<WrappingKey, Fault> {
        let form = KeyForm::wrapping_key(spec);
        let made = self.making(|making| match making.capabilities.lacks(form) {
            Some(mechanism) => Err(self.lacking(&mechanism)),
            None => making.make(form),
        })?;
        match made {
            MadeKey { kept: KeptKey::Wrapped(private_key), public_key: Some(public_key) } => {
                Ok(WrappingKey { private_key, public_key })
            }
            _ => Err(self.lacking("a way to keep wrapping keys")),
        }
    }

    /// With the wrapping key in this session, for as long as the work takes.
    pub(super) fn importing<T>(
        &self,
        request: &ToImport,
        work: impl FnOnce(&Importing<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let spec = request.wrapping_key_spec.key_spec();
        let spec = spec.ok_or_else(|| self.lacking("wrapping keys of SM2"))?;
        self.making(|making| {
            let form = KeyForm::wrapping_key(spec);
            let session = self.ready.session;
            let of = (form, Leaves::Never);
            let handle = self.vault.unwrap(self.ready, self.means, &request.wrapping_key, of)?;
            let wrapping_key = Temporary { session, handle };
            work(&Importing { making, wrapping_key, spec })
        })
    }

    fn import(&self, request: &ToImport) -> Result<ImportedKey, Fault> {
        self.importing(request, |importing| importing.import(request, (self.token, self.means)))
    }

    fn lacking(&self, mechanism: &str) -> Fault {
        Fault::new(Blame::Unsupported, format!("HSM {} lacks {mechanism}", self.token.config.name))
    }

    fn compute(&self, request: &ComputeUnder) -> Result<SecretBytes, Fault> {
        if let KeptKey::Software { sealed } = &*request.key.kept {
            return self.compute_in_software(request, sealed);
        }
        let key = self.unwrapped(&request.key)?;
        let capabilities: &Capabilities = &self.vault.capabilities();
        let functions = &self.means.library.functions;
        Computing { functions, session: self.ready.session, capabilities }.compute(
            request.key.kind.spec,
            key.handle,
            &request.computation,
        )
    }

    fn encrypt(&self, key: &BackingKey, plaintext: &[u8], aad: &[u8]) -> Result<Encrypted, Fault> {
        let key = self.unwrapped(key)?;
        self.encrypt_with(key.handle, plaintext, aad)
    }

    fn encrypt_with(&self, handle: u64, plaintext: &[u8], aad: &[u8]) -> Result<Encrypted, Fault> {
        let gcm = self.gcm(handle);
        let encrypted = gcm.encrypt(plaintext, aad)?;
        if self.token.config.check_encryptions {
            gcm.check(&encrypted, plaintext, aad)?;
        }
        Ok(encrypted)
    }

    fn data_key(&self, request: &DataKeyUnder) -> Result<DataKey, Fault> {
        let plaintext = self.random(request.bytes)?;
        let encrypted = self.encrypt(&request.key, plaintext.expose(), &request.aad)?;
        Ok(DataKey { plaintext, encrypted })
    }

    pub(super) fn random(&self, bytes: usize) -> Result<SecretBytes, Fault> {
        let mut drawn = Zeroizing::new(vec![0; bytes.max(RANDOM_BYTES_MIN)]);
        self.ready.session.generate_random_slice(&mut drawn)?;
        if drawn.iter().all(|&byte| byte == 0) {
            return Err(Fault::new(Blame::Token, "C_GenerateRandom returned zeros"));
        }
        drawn.truncate(bytes);
        Ok(SecretBytes::new(std::mem::take(&mut *drawn)))
    }

    fn sealing_key(&self, of: RootOf) -> Result<(RootKeyId, u64), Fault> {
        let id = self.vault.ensure_open(of, self.ready, self.means)?;
        Ok((id, self.vault.root_handle(&id, self.ready, |root| &root.sealing)?.1))
    }

    pub(super) fn seal(&self, secret: &SecretBytes, context: &[u8]) -> Result<Vec<u8>, Fault> {
        let (root_key, handle) = self.sealing_key(RootOf::New)?;
        let Encrypted { iv, ciphertext, tag, .. } = self.encrypt_with(handle, secret.expose(), context)?;
        let ciphertext_and_tag = &[ciphertext, tag.to_vec()].concat();
        let sealed = SealedParts { root_key: Some(root_key), iv: &iv, ciphertext_and_tag }.to_bytes();
        let is_read = SealedParts::parse(&sealed).is_some_and(|parts| parts.iv == iv);
        is_read
            .then_some(sealed)
            .ok_or_else(|| Fault::new(Blame::Token, "the token made an IV of a wrong length"))
    }

    pub(super) fn unseal(&self, sealed: &[u8], context: &[u8]) -> Result<SecretBytes, Fault> {
        let parts =
            split(sealed).ok_or_else(|| Fault::new(Blame::Data, "what is to be unsealed was not sealed"))?;
        // Callers bring some of it: what names another root key is no failure of ours.
        if parts.root_key.is_some_and(|id| self.vault.is_foreign(&id)) {
            return Err(Fault::new(Blame::Data, "what is to be unsealed is under no root key of the store"));
        }
        let (_, handle) = self.sealing_key(RootOf::Kept(parts.root_key))?;
        self.gcm(handle).decrypt(parts.iv, parts.ciphertext_and_tag, context)
    }
}

fn split(sealed: &[u8]) -> Option<SealedParts<'_>> {
    let parts = SealedParts::parse(sealed)?;
    let is_sealed =
        proxy_api::wire::IV_BYTES.contains(&parts.iv.len()) && parts.ciphertext_and_tag.len() >= TAG_BYTES;
    is_sealed.then_some(parts)
}
