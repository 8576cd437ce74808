//! Searches for keys that no member of a cluster is known to have: one at a time for each label, and not again soon.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::clock::Clock;
use crate::domain::ExternalKeyId;
use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::hsm::REFRESH_INTERVAL_MIN;
use crate::key_manager::pkcs11::module::HANG_LIMIT;

/// Labels that are remembered at once; the oldest gives way.
const LABELS_MAX: usize = 1024;

/// What came of searches that are under way, or were a moment ago.
pub(super) struct Searches {
    by_label: Mutex<HashMap<ExternalKeyId, Arc<Search>>>,
    clock: Arc<dyn Clock>,
}

struct Search {
    started: Instant,
    /// Once somebody has looked, or nobody could.
    outcome: OnceCell<Result<(), HsmError>>,
}

impl Searches {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { by_label: Mutex::default(), clock }
    }

    /// Looks with `look`, unless that was done a moment ago or somebody else is about to: then what came of it counts.
    pub(super) async fn join(
        &self,
        label: &ExternalKeyId,
        look: impl Future<Output = Result<(), HsmError>>,
        deadline: Instant,
    ) -> Result<(), HsmError> {
        let search = self.latest(label);
        let outcome = search.outcome.get_or_init(|| look);
        let outcome = tokio::time::timeout_at(deadline.into(), outcome).await;
        outcome.map_or(Err(HsmError::DeadlineExceeded), Clone::clone)
    }

    /// Nothing counts any more.
    pub(super) fn forget(&self) {
        self.by_label.lock().clear();
    }

    fn latest(&self, label: &ExternalKeyId) -> Arc<Search> {
        let now = self.clock.instant();
        let mut by_label = self.by_label.lock();
        if let Some(search) = by_label.get(label).filter(|search| search.counts(now)) {
            return Arc::clone(search);
        }
        if by_label.len() >= LABELS_MAX {
            by_label.retain(|_, search| search.counts(now));
        }
        if by_label.len() >= LABELS_MAX {
            let oldest = by_label.iter().min_by_key(|(_, search)| search.started);
            let oldest = oldest.map(|(label, _)| label.clone());
            oldest.and_then(|label| by_label.remove(&label));
        }
        let search = Arc::new(Search { started: now, outcome: OnceCell::new() });
        by_label.insert(label.clone(), Arc::clone(&search));
        search
    }
}

impl Search {
    /// That nobody could look says little about the next moment.
    fn counts(&self, now: Instant) -> bool {
        let age_max = match self.outcome.get() {
            Some(Err(_)) => HANG_LIMIT,
            Some(Ok(())) | None => REFRESH_INTERVAL_MIN,
        };
        now.saturating_duration_since(self.started) < age_max
    }
}
