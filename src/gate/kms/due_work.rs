//! What becomes due by the passing of time: deletions, automatic rotations, the end of imported material.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::kms::{
    Key, KeyId, KeyState, LifecycleEventKind, MaterialSource, RotationType, Scope, UnixMillis,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::service_event::ServiceAct;
use crate::gate::kms::{Kms, Refused};
use crate::key_manager::backing_key::BackingKey;
use crate::store::{DueWork, StoreError};

/// Done in one go; the rest waits for the next.
const BATCH_MAX: usize = 100;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueWorkDone {
    pub deleted: usize,
    /// Imported material.
    pub expired: usize,
    pub rotated: usize,
    /// Could not be done now, and will be tried again.
    pub failed: usize,
    /// There may be more that is due.
    pub is_cut_short: bool,
}

impl Kms {
    /// When something is due next.
    pub async fn next_due(&self) -> Result<Option<UnixMillis>, Refused> {
        Ok(self.store.next_due().await?)
    }

    /// Keys with imported material that expires, and when; the next first.
    pub async fn expiries(&self, limit: usize) -> Result<Vec<(KeyId, UnixMillis)>, Refused> {
        Ok(self.store.expiries(limit).await?)
    }

    /// Does what is due now. Each key is one transaction, so stopping anywhere leaves nothing half done, and doing
    /// it again does nothing twice.
    pub async fn do_due_work(&self, deadline: impl Fn() -> Instant) -> Result<DueWorkDone, Refused> {
        let now = self.now();
        let mut done = DueWorkDone::default();
        for work in [DueWork::Deletion, DueWork::Expiry, DueWork::Rotation] {
            let due = self.store.due(work, now, BATCH_MAX).await?;
            done.is_cut_short |= due.len() == BATCH_MAX;
            for (scope, id) in due {
                let mut result = self.do_if_due(work, (&scope, &id), now, deadline()).await;
                // Somebody else was faster, who may have done the same: then nothing is due any more.
                if matches!(result, Err(Refused::Conflict | Refused::Store(StoreError::Missing))) {
                    result = self.do_if_due(work, (&scope, &id), now, deadline()).await;
                }
                match (result, work) {
                    (Ok(true), DueWork::Deletion) => done.deleted += 1,
                    (Ok(true), DueWork::Expiry) => done.expired += 1,
                    (Ok(true), DueWork::Rotation) => done.rotated += 1,
                    (Ok(false), _) => {}
                    (Err(refused), _) => {
                        done.failed += 1;
                        tracing::warn!(key.id = %id, reason = %refused, "{work:?} of key {id} failed");
                    }
                }
            }
        }
        Ok(done)
    }

    async fn do_if_due(
        &self,
        work: DueWork,
        name: (&Scope, &KeyId),
        now: UnixMillis,
        deadline: Instant,
    ) -> Result<bool, Refused> {
        match work {
            DueWork::Deletion => self.delete_if_due(name, now, deadline).await,
            DueWork::Expiry => self.expire_if_due(name, now, deadline).await,
            DueWork::Rotation => self.rotate_if_due(name, now, deadline).await,
        }
    }

    async fn delete_if_due(
        &self,
        (scope, id): (&Scope, &KeyId),
        now: UnixMillis,
        deadline: Instant,
    ) -> Result<bool, Refused> {
        let Some(key) = self.store.key(scope, id).await? else { return Ok(false) };
        let is_due = |key: &Key| key.deletion.and_then(|deletion| deletion.due).is_some_and(|due| due <= now);
        if key.state != KeyState::PendingDeletion || !is_due(&key) {
            return Ok(false);
        }
        let mut event = self.service_event(ServiceAct::DeleteKey, &key)?;
        let announced = event.announce().await?;
        let told = self.lifecycle_event(LifecycleEventKind::Deletion, &key)?;
        let deleted = if key.is_replica() {
            self.delete_replica(key.clone(), announced, told).await
        } else {
            let deletion = to_the_end(self.changes(announced).delete_key(key.clone(), told));
            deletion.await.map(|()| false).map_err(Refused::from)
        };
        if deleted.is_err() {
            event.end(&deleted);
            return deleted;
        }
        self.note_lifecycle_event(LifecycleEventKind::Deletion, 0);
        self.destroy_material(&key, deadline).await;
        tracing::info!(key.id = %id, account = %scope.account, region = %scope.region, "deleted key {id}");
        if let Some(additional) = self.destroy_cluster_key(&key, deadline).await {
            event.add(additional);
        }
        event.end(&deleted);
        Ok(true)
    }

    /// Takes the material of a key that is gone, or never came to be, out of the HSM, unless related keys have it too.
    pub(super) async fn destroy_material(&self, key: &Key, deadline: Instant) {
        let was_last = match self.was_last(key).await {
            Ok(was_last) => was_last,
            Err(refused) => {
                let id = &key.id;
                tracing::warn!(key.id = %id, reason = %refused, "the material of {id} may still be in the HSM");
                false
            }
        };
        for material in key.materials.iter().filter(|_| was_last) {
            self.backing_keys.forget(&material.id);
            if let MaterialSource::Kept(kept) = &material.source {
                let order = BackingKey { id: material.id, kind: key.kind(), kept: Arc::clone(kept) };
                self.discard(order, deadline).await;
            }
        }
    }

    async fn rotate_if_due(
        &self,
        (scope, id): (&Scope, &KeyId),
        now: UnixMillis,
        deadline: Instant,
    ) -> Result<bool, Refused> {
        let Some(key) = self.store.key(scope, id).await? else { return Ok(false) };
        let is_due = key.rotation.is_some_and(|rotation| rotation.next <= now);
        if key.state != KeyState::Enabled || key.is_replica() || !is_due {
            return Ok(false);
        }
        let next = self.rotated(&key, (RotationType::Automatic, now), deadline).await?;
        let event = self.service_event(ServiceAct::Rotate(RotationType::Automatic), &key)?;
        let rotated = self.replace_rotated(&key, next, event.announce().await?).await;
        event.end(&rotated);
        rotated?;
        tracing::info!(key.id = %id, account = %scope.account, region = %scope.region, "rotated key {id}");
        Ok(true)
    }

    /// Writes down what keys were used for.
    pub async fn write_usage(&self) -> Result<(), Refused> {
        let records = self.usage.take();
        if records.is_empty() {
            return Ok(());
        }
        let used: Vec<_> =
            records.iter().map(|record| (record.scope.clone(), record.key_id.clone())).collect();
        let result = self.store.record_usage(records).await;
        // What is in memory has the counts of before. Between the two, encryptions count twice, never not at all.
        used.iter().for_each(|(scope, id)| self.cache.forget(scope, id));
        match result {
            Ok(()) => self.usage.written(),
            Err(_) => self.usage.put_back(),
        }
        Ok(result?)
    }

    /// Deletes every key, alias, grant and custom key store. For development.
    pub async fn clear(&self) -> Result<(), Refused> {
        self.log_out_everywhere().await;
        self.store.clear_keys().await?;
        self.key_stores.forget_everything();
        self.usage.clear();
        self.cache.forget_everything();
        self.grants.forget_everything();
        Ok(())
    }
}
