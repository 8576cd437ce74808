//! Calls whose signature does not verify: recorded too, but strangers must not be able to fill the disk.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use prometheus::IntCounter;

use crate::metrics::Metrics;

const RECORDS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const RECORDS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// Records of strangers: so many, and the rest is counted.
pub struct Strangers {
    bucket: DefaultDirectRateLimiter,
    dropped: IntCounter,
}

impl Strangers {
    pub fn new(metrics: &Metrics) -> Self {
        let quota = Quota::per_second(RECORDS_PER_SECOND).allow_burst(RECORDS_AT_ONCE);
        Self {
            bucket: RateLimiter::direct(quota),
            dropped: metrics.audit_records_of_strangers_dropped_total.clone(),
        }
    }

    /// Whether there is room for one more.
    pub fn admit(&self) -> bool {
        let is_admitted = self.bucket.check().is_ok();
        if !is_admitted {
            self.dropped.inc();
        }
        is_admitted
    }
}
