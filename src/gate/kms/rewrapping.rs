//! What is kept of keys and custom key stores comes under another root key, each in its next revision.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::kms::{
    Connection, CustomKeyStore, KeptKey, Key, KeyId, Material, MaterialSource, RootKeyId, Scope, SealedParts,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::import::fingerprint_context;
use crate::gate::kms::key_store_secrets::SecretOf;
use crate::gate::kms::multi_region::next_revision;
use crate::gate::kms::witness::Announced;
use crate::gate::kms::{Kms, Refused};
use crate::key_manager::backing_key::{BackingKey, ToRewrap};
use crate::store::{KeysToRewrap, StoreError};

impl Kms {
    /// Some keys behind this number that have something under another root key than the current one.
    pub async fn keys_to_rewrap(&self, after: u64) -> Result<KeysToRewrap, Refused> {
        Ok(self.store.keys_to_rewrap(after).await?)
    }

    /// Puts the material of a key under the current root key: in the HSM, where it has proven itself before the store
    /// is told. Whoever changes the key meanwhile is faster, and this fails with a conflict. False if there was nothing
    /// to do.
    pub async fn rewrap_key(
        &self,
        (scope, id): (&Scope, &KeyId),
        current: RootKeyId,
        deadline: Instant,
    ) -> Result<bool, Refused> {
        let Some(mut key) = self.store.key(scope, id).await? else { return Ok(false) };
        let mut is_changed = false;
        let (kind, fingerprint_context) = (key.kind(), fingerprint_context(&key));
        for material in key.materials.iter_mut().filter(|material| !material.is_under(current)) {
            if let MaterialSource::Kept(kept) = &material.source
                && **kept != KeptKey::TokenObject
            {
                let order = BackingKey { id: material.id, kind, kept: Arc::clone(kept) };
                let request = ToRewrap { key: order, public_key: public_key(material) };
                let kept = self.backing_keys.rewrap(request, deadline).await.result?;
                material.source = MaterialSource::Kept(Arc::new(kept));
            }
            if let Some(import) = &mut material.import {
                let (sealed, context) = (import.fingerprint.clone(), fingerprint_context.clone());
                import.fingerprint = self.backing_keys.reseal(sealed, context, deadline).await.result?;
            }
            is_changed = true;
        }
        if is_changed {
            self.replace_rewrapped(key).await?;
        }
        Ok(is_changed)
    }

    /// Nothing of it is to be seen at the API: related keys stay what they are.
    async fn replace_rewrapped(&self, key: Key) -> Result<(), Refused> {
        let key = Arc::new(next_revision(key));
        // The rotation of the root key was recorded when it was asked for.
        Ok(to_the_end(self.changes(Announced::when_asked_for()).replace_key(key)).await?)
    }

    /// Puts the secrets of custom key stores under the current root key. How many were, and why the first that could not
    /// be was not; one that is being connected or disconnected is left for the next time.
    pub async fn reseal_key_stores(
        &self,
        current: RootKeyId,
        deadline: impl Fn() -> Instant,
    ) -> Result<(usize, Option<Refused>), Refused> {
        let (mut resealed, mut failure) = (0, None);
        for store in self.store.custom_key_stores(None).await? {
            let named = SealedParts::parse(store.sealed_secret()).and_then(|parts| parts.root_key);
            let is_moving = matches!(store.connection, Connection::Connecting | Connection::Disconnecting);
            if named == Some(current) || is_moving {
                continue;
            }
            match self.reseal_key_store(store, deadline()).await {
                Ok(()) => resealed += 1,
                Err(Refused::Conflict | Refused::Store(StoreError::Missing)) => {}
                Err(refused) => failure = failure.or(Some(refused)),
            }
        }
        Ok((resealed, failure))
    }

    async fn reseal_key_store(&self, mut store: CustomKeyStore, deadline: Instant) -> Result<(), Refused> {
        let context = SecretOf::store(&store).context();
        let sealed = store.sealed_secret().to_vec();
        store.set_sealed_secret(self.backing_keys.reseal(sealed, context, deadline).await.result?);
        store.revision += 1;
        Ok(to_the_end(self.changes(Announced::when_asked_for()).replace_key_store(store)).await?)
    }
}

fn public_key(material: &Material) -> Option<Vec<u8>> {
    material.public_key.as_deref().map(<[u8]>::to_vec)
}
