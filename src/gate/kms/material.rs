//! How the door finds keys and makes and moves them on: what operations and due work have in common.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::kms::{
    AliasName, Key, KeyId, KeyKind, LifecycleEventKind, MATERIAL_ID_BYTES, Material, MaterialId,
    MaterialSource, Rotation, RotationType, Scope, UnixMillis,
};
use crate::gate::kms::changes::{Changes, to_the_end};
use crate::gate::kms::key_cache::CachedKey;
use crate::gate::kms::multi_region::next_revision;
use crate::gate::kms::witness::Announced;
use crate::gate::kms::{Kms, Refused};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::KeyOrder;
use crate::policy::PolicyDocument;
use crate::store::StoreError;

impl Kms {
    /// The key, from memory or from the store.
    pub(super) async fn find(&self, scope: &Scope, id: &KeyId) -> Result<Option<Arc<CachedKey>>, Refused> {
        let reading = match self.cache.key(scope, id) {
            Ok(known) => return Ok(Some(known)),
            Err(reading) => reading,
        };
        let Some(key) = self.store.key(scope, id).await? else { return Ok(None) };
        let policy = PolicyDocument::parse(&key.policy).map_err(|error| {
            Refused::Store(StoreError::Unavailable(format!("the policy of key {id} cannot be read: {error}")))
        })?;
        let cached = Arc::new(CachedKey::new(key, policy.for_a_key()));
        self.cache.keep_key(reading, &cached);
        Ok(Some(cached))
    }

    /// The key that an alias points at.
    pub(super) async fn resolve(&self, scope: &Scope, name: &AliasName) -> Result<Option<KeyId>, Refused> {
        let reading = match self.cache.alias(scope, name) {
            Ok(target) => return Ok(Some(target)),
            Err(reading) => reading,
        };
        let Some(alias) = self.store.alias(scope, name).await? else { return Ok(None) };
        self.cache.keep_alias(reading, scope, name, &alias.target);
        Ok(Some(alias.target))
    }

    /// Makes `key`, changed from the stored revision, the next one.
    pub(super) async fn replace(
        &self,
        before: &Key,
        key: Key,
        announced: Announced,
    ) -> Result<Arc<Key>, Refused> {
        let followers = self.followers(before, &key).await?;
        if !followers.is_empty() {
            return Ok(self.replace_with_followers((key, followers), announced, None).await?.0);
        }
        let key = Arc::new(next_revision(key));
        to_the_end(self.changes(announced).replace_key(Arc::clone(&key))).await?;
        Ok(key)
    }

    /// The same with a key that has new material, of which others are told.
    pub(super) async fn replace_rotated(
        &self,
        before: &Key,
        key: Key,
        announced: Announced,
    ) -> Result<Arc<Key>, Refused> {
        let Some(event) = self.lifecycle_event(LifecycleEventKind::Rotation, &key)? else {
            let key = self.replace(before, key, announced).await?;
            self.note_lifecycle_event(LifecycleEventKind::Rotation, 0);
            return Ok(key);
        };
        let followers = self.followers(before, &key).await?;
        let (key, forgotten) = if followers.is_empty() {
            let key = Arc::new(next_revision(key));
            let forgotten = to_the_end(self.changes(announced).rotate_key(Arc::clone(&key), event)).await?;
            (key, forgotten)
        } else {
            self.replace_with_followers((key, followers), announced, Some(event)).await?
        };
        self.note_lifecycle_event(LifecycleEventKind::Rotation, forgotten);
        Ok(key)
    }

    /// Every change of the store goes through this, once the audit trail knows of it.
    pub(super) fn changes(&self, _announced: Announced) -> Changes {
        Changes {
            store: Arc::clone(&self.store),
            cache: Arc::clone(&self.cache),
            key_stores: Arc::clone(&self.key_stores),
            grants: Arc::clone(&self.grants),
        }
    }

    /// Fresh material, generated in the HSM.
    pub(super) async fn new_material(
        &self,
        kind: KeyKind,
        now: UnixMillis,
        deadline: Instant,
    ) -> Result<Material, Refused> {
        let id = MaterialId::new(random::<MATERIAL_ID_BYTES>()?);
        let made = self.backing_keys.generate(KeyOrder { id, kind }, deadline).await.result?;
        Ok(Material {
            id,
            created: now,
            rotation: None,
            encryptions: 0,
            source: MaterialSource::Kept(Arc::new(made.kept)),
            public_key: made.public_key.map(Arc::from),
            import: None,
        })
    }

    /// The key with one more generation of material. An automatic rotation sets the next one; one on demand leaves
    /// the schedule as it is.
    pub(super) async fn rotated(
        &self,
        key: &Key,
        (rotation, now): (RotationType, UnixMillis),
        deadline: Instant,
    ) -> Result<Key, Refused> {
        let mut material = self.new_material(key.kind(), now, deadline).await?;
        material.rotation = Some(rotation);
        let mut next = key.clone();
        next.materials.push(material);
        if rotation == RotationType::Automatic {
            next.rotation = key.rotation.map(|schedule| schedule.after(now));
        }
        Ok(next)
    }
}

impl Rotation {
    /// The schedule once the rotation that is due at `now` is done: whole periods from the last date, so that a
    /// late rotation does not move those after it.
    #[must_use]
    fn after(self, now: UnixMillis) -> Self {
        let mut next = self.next.plus_days(self.period_days);
        while next <= now {
            next = next.plus_days(self.period_days.max(1));
        }
        Self { next, ..self }
    }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    let failed = |_| Refused::KeyManager(HsmError::Device("the system gave no random bytes".to_owned()));
    aws_lc_rs::rand::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
