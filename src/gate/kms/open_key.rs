//! A key that may be used for the action it was opened for.

use std::sync::Arc;

use crate::domain::kms::{
    Ciphertext, EncryptionContext, Key, KeyAction, KeyPlace, KeyState, Material, MaterialId, Origin, Refusal,
    RotationType, StateRefusal,
};
use crate::gate::kms::cipher::Sealing;
use crate::gate::kms::key_cache::CachedKey;
use crate::gate::kms::key_store_refused::{KeyStoreRefused, ProxyUse};
use crate::gate::kms::known_key_stores::KnownKeyStore;
use crate::gate::kms::service_event::ServiceAct;
use crate::gate::kms::usage_ledger::Used;
use crate::gate::kms::{Call, ImportRefused, Refused};
use crate::key_manager::external_key::GCM_INVOCATIONS_MAX;
use crate::secret::SecretBytes;
use crate::store::LastUsage;

pub struct OpenKey<'a> {
    call: &'a Call<'a>,
    cached: Arc<CachedKey>,
    /// The custom key store that the key is in.
    key_store: Option<Arc<KnownKeyStore>>,
    action: KeyAction,
}

/// What Encrypt answers with.
pub struct Sealed {
    pub blob: Vec<u8>,
    pub material_id: Option<MaterialId>,
}

pub struct Decrypted {
    pub plaintext: SecretBytes,
    pub material_id: Option<MaterialId>,
}

pub struct GeneratedDataKey {
    pub plaintext: SecretBytes,
    pub blob: Vec<u8>,
    pub material_id: Option<MaterialId>,
}

impl<'a> OpenKey<'a> {
    pub(super) fn new(call: &'a Call<'a>, cached: Arc<CachedKey>, action: KeyAction) -> Self {
        Self { call, cached, key_store: None, action }
    }

    pub(super) fn in_key_store(self, key_store: Option<Arc<KnownKeyStore>>) -> Self {
        Self { key_store, ..self }
    }

    pub(super) const fn call(&self) -> &'a Call<'a> {
        self.call
    }

    pub(super) const fn action(&self) -> KeyAction {
        self.action
    }

    pub(super) fn key_store(&self) -> Option<&KnownKeyStore> {
        self.key_store.as_deref()
    }

    /// The state that the key shows: that of its key store counts too.
    pub fn state(&self) -> KeyState {
        let stored = self.key().state_at(self.call.now());
        self.key_store.as_ref().map_or(stored, |known| known.store.connection.shown_state(stored))
    }

    pub fn key(&self) -> &Key {
        &self.cached.key
    }

    pub fn arn(&self) -> &str {
        &self.cached.arn
    }

    /// Encrypts with the current material.
    pub async fn encrypt(
        &self,
        plaintext: SecretBytes,
        context: &EncryptionContext,
    ) -> Result<Sealed, Refused> {
        let sealing = self.sealing(context)?;
        let blob = self.seal(sealing, plaintext).await?;
        self.note(Some(sealing.material.id));
        Ok(Sealed { blob, material_id: self.told_material(sealing.material) })
    }

    /// Fresh random bytes, in the clear and under the current material.
    pub async fn generate_data_key(
        &self,
        bytes: usize,
        context: &EncryptionContext,
    ) -> Result<GeneratedDataKey, Refused> {
        let sealing = self.sealing(context)?;
        let (plaintext, blob) = self.seal_fresh(sealing, bytes).await?;
        self.note(Some(sealing.material.id));
        Ok(GeneratedDataKey { plaintext, blob, material_id: self.told_material(sealing.material) })
    }

    /// Decrypts with the material that the ciphertext names.
    pub async fn decrypt(
        &self,
        ciphertext: &Ciphertext<'_>,
        context: &EncryptionContext,
    ) -> Result<Decrypted, Refused> {
        let material = self.key().material(&ciphertext.header.material_id);
        let material = material.ok_or(Refused::InvalidCiphertext)?;
        let plaintext = self.unseal(material, ciphertext, context).await?;
        self.note(None);
        Ok(Decrypted { plaintext, material_id: self.told_material(material) })
    }

    /// Fails as encryption would before the HSM is asked, and does nothing.
    pub fn rehearse_encrypt(&self, context: &EncryptionContext) -> Result<(), Refused> {
        self.sealing(context)?.aad().map(drop)
    }

    /// Fails as decryption would before the HSM is asked, and does nothing.
    pub fn rehearse_decrypt(
        &self,
        ciphertext: &Ciphertext<'_>,
        context: &EncryptionContext,
    ) -> Result<(), Refused> {
        let is_right = self.key().material(&ciphertext.header.material_id).is_some();
        let is_possible = is_right && ciphertext.aad(context).is_some();
        if is_possible { Ok(()) } else { Err(Refused::InvalidCiphertext) }
    }

    /// Makes the next revision of the key durable; replicas follow in what they share. `Conflict` if it is not the one that was opened any more.
    pub async fn replace(&self, change: impl FnOnce(&mut Key)) -> Result<Arc<Key>, Refused> {
        let mut key = self.key().clone();
        change(&mut key);
        self.call.kms.replace(self.key(), key, self.call.announce().await?).await
    }

    /// Makes fresh key material, and with it the next revision of the key.
    pub async fn rotate(&self, rotation: RotationType) -> Result<Arc<Key>, Refused> {
        let next = match self.key().origin {
            Origin::External => self.with_pending_material(rotation)?,
            Origin::AwsCloudHsm | Origin::AwsKms | Origin::ExternalKeyStore => {
                let how = (rotation, self.call.now());
                self.call.kms.rotated(self.key(), how, self.call.deadline()).await?
            }
        };
        // The call and the rotation have a record each.
        self.call.announce().await?;
        let event = self.call.kms.service_event(ServiceAct::Rotate(rotation), self.key())?;
        let rotated = self.call.kms.replace_rotated(self.key(), next, event.announce().await?).await;
        event.end(&rotated);
        rotated
    }

    /// The key with the material in use that waits for it.
    fn with_pending_material(&self, rotation: RotationType) -> Result<Key, Refused> {
        let mut next = self.key().clone();
        let pending = next.materials.iter_mut().find(|material| material.is_pending_rotation());
        let pending = pending.ok_or(ImportRefused::NothingToRotateTo)?;
        pending.rotation = Some(rotation);
        pending.created = self.call.now();
        if let Some(import) = &mut pending.import {
            import.is_pending_rotation = false;
        }
        Ok(next)
    }

    /// Has the record name the key object of a key in a cluster, if the cluster can be asked now.
    pub async fn note_backing_key(&self) {
        let is_known = !self.call.touched().things().backing_keys.is_empty();
        if is_known || !matches!(self.key().place, KeyPlace::CloudHsm { .. }) {
            return;
        }
        if let Some(found) = self.call.kms.find_cluster_key(self.key()).await {
            self.call.touched().note_backing_key(found);
        }
    }

    /// What it was used for last.
    pub async fn last_usage(&self) -> Result<Option<LastUsage>, Refused> {
        let kms = self.call.kms;
        match kms.usage.last(self.key()) {
            Some(last) => Ok(Some(last)),
            None => Ok(kms.store.last_usage(&self.key().scope, &self.key().id).await?),
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) -> Refused {
        let arn = self.cached.arn.clone();
        if let Refusal::State(refusal) = refusal
            && self.action.is_cryptographic()
        {
            self.call.kms.metrics.alarms.refused_for_state(refusal.as_str());
        }
        match refusal {
            // XKS v1, Error codes: the custom key store is not connected.
            Refusal::State(StateRefusal::State(KeyState::Unavailable))
                if self.action.is_cryptographic()
                    && matches!(self.key().place, KeyPlace::External { .. }) =>
            {
                KeyStoreRefused::NotConnected { while_: ProxyUse::Cryptography }.into()
            }
            Refusal::Capability(refusal) => Refused::Capability { arn, refusal },
            Refusal::State(refusal) => Refused::State { arn, refusal },
        }
    }

    /// The material that encrypts, if it still may, and what goes before its ciphertexts.
    fn sealing<'k>(&'k self, context: &'k EncryptionContext) -> Result<Sealing<'k>, Refused> {
        let arn = || self.cached.arn.clone();
        let material = self.current()?;
        let blob_start = self.cached.blob_start.as_ref().ok_or_else(|| self.without_material())?;
        if material.encryptions + self.call.kms.usage.encryptions(&material.id) >= GCM_INVOCATIONS_MAX {
            return Err(Refused::EncryptionsUsedUp { arn: arn() });
        }
        Ok(Sealing { material, blob_start, context })
    }

    /// The material that computes.
    pub(super) fn current(&self) -> Result<&Material, Refused> {
        self.key().current_material().ok_or_else(|| self.without_material())
    }

    fn without_material(&self) -> Refused {
        Refused::State { arn: self.cached.arn.clone(), refusal: StateRefusal::State(self.key().state) }
    }

    /// Callers learn of the material of keys in the default key store only.
    fn told_material(&self, material: &Material) -> Option<MaterialId> {
        self.key().has_material_ids().then_some(material.id)
    }

    pub(super) fn note(&self, encrypted_with: Option<MaterialId>) {
        let used = Used {
            operation: tracked_name(self.action),
            at: self.call.now(),
            request_id: self.call.id(),
            encrypted_with,
        };
        self.call.kms.usage.note(self.key(), used);
    }
}

/// `KeyLastUsageTrackingOperation` of the service model.
pub(super) const fn tracked_name(action: KeyAction) -> &'static str {
    if matches!(action, KeyAction::ReEncryptFrom | KeyAction::ReEncryptTo) {
        "ReEncrypt"
    } else {
        action.as_str()
    }
}
