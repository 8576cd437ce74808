//! Lifecycle events of keys: noted in the store with what they tell of, and told from there.

use crate::domain::kms::{Key, LifecycleEvent, LifecycleEventKind, Uuid};
use crate::gate::kms::material::random;
use crate::gate::kms::{Kms, Refused};
use crate::store::Outbox;

impl Kms {
    /// An event that happens to this key now, if there is somebody to tell.
    pub(super) fn lifecycle_event(
        &self,
        kind: LifecycleEventKind,
        key: &Key,
    ) -> Result<Option<LifecycleEvent>, Refused> {
        if !self.are_events_told {
            return Ok(None);
        }
        Ok(Some(LifecycleEvent {
            id: Uuid::from_random(random()?),
            kind,
            scope: key.scope.clone(),
            key_id: key.id.clone(),
            at: self.now(),
        }))
    }

    /// After it happened to a key, and so many older events were forgotten for the one that tells of it.
    pub(super) fn note_lifecycle_event(&self, kind: LifecycleEventKind, forgotten: u64) {
        self.metrics.alarms.happened_to_key(kind.as_str());
        if self.are_events_told {
            self.metrics.kms_events_total.with_label_values(&[kind.as_str(), "dropped"]).inc_by(forgotten);
            self.lifecycle_event.notify_one();
        }
    }

    /// Completes when there may be something new to tell.
    pub async fn lifecycle_event_happened(&self) {
        self.lifecycle_event.notified().await;
    }

    /// The event that is to be told next.
    pub async fn next_lifecycle_event(&self) -> Result<Outbox, Refused> {
        Ok(self.store.lifecycle_events(1).await?)
    }

    /// It need not be told again.
    pub async fn lifecycle_event_was_told(&self, number: u64) -> Result<(), Refused> {
        Ok(self.store.remove_lifecycle_event(number).await?)
    }
}
