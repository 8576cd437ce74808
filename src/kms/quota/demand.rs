//! Shows how much of each quota is asked for, by account and Region.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prometheus::IntCounter;

use crate::domain::kms::{AccountId, Region};
use crate::kms::quota::QuotaClass;
use crate::metrics::AlarmMetrics;

/// So many accounts and Regions are shown; those that come later are not.
const SHOWN_MAX: usize = 64;

type Name = (AccountId, Region);
/// In the order of [`QuotaClass::ALL`]. A quota that nobody uses is not shown.
type Counters = Arc<[OnceLock<IntCounter>]>;

pub(super) struct Demand {
    metrics: AlarmMetrics,
    known: ArcSwap<HashMap<Name, Counters>>,
}

impl Demand {
    pub(super) fn new(metrics: AlarmMetrics) -> Self {
        Self { metrics, known: ArcSwap::default() }
    }

    /// Counts a request against a quota of so many a second.
    pub(super) fn count(&self, name: &Name, class: QuotaClass, per_second: f64) {
        let Some(counters) = self.counters(name) else { return };
        let Some(counter) = counters.get(class as usize) else { return };
        let (account, region) = name;
        let shown = || self.metrics.quota(class.as_str(), (account.as_str(), region.as_str()), per_second);
        counter.get_or_init(shown).inc();
    }

    fn counters(&self, name: &Name) -> Option<Counters> {
        let known = self.known.load();
        if let Some(counters) = known.get(name) {
            return Some(Arc::clone(counters));
        }
        if known.len() >= SHOWN_MAX {
            return None;
        }
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() < SHOWN_MAX {
                known
                    .entry(name.clone())
                    .or_insert_with(|| QuotaClass::ALL.iter().map(|_| OnceLock::new()).collect());
            }
            known
        });
        self.known.load().get(name).map(Arc::clone)
    }
}
