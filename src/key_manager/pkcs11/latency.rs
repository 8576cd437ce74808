//! How long an HSM takes for each class of work, learned as it answers: without locks, and forgetting what is old.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::key_manager::pkcs11::class::Class;

/// Four buckets an octave, from 16 µs to 4 s: what is read off is wrong by a fifth at most.
const BUCKETS: usize = 4 * 18;
const FIRST_OCTAVE: u32 = 4;
/// After so many samples all of them count half.
const HALF_LIFE: u32 = 1024;
/// The point is worked out anew after so many samples.
const POINT_INTERVAL: u32 = 32;
/// With fewer, nothing is known.
const SAMPLES_MIN: u32 = 64;
const UNKNOWN_POINT: Duration = Duration::from_millis(20);
const PERCENTILE: u64 = 99;
/// Sooner, a second request costs more than it saves: that is what a busy scheduler takes at times.
const POINT_MIN: Duration = Duration::from_millis(2);
/// Later, too little is left of the 250 ms of AWS KMS, or of the 100 ms that a hanging HSM may cost.
const POINT_MAX: Duration = Duration::from_millis(60);
/// A call that hung says nothing about the next one: a sample counts at most as this multiple of what is known.
const OUTLIER: u64 = 8;
const OUTLIER_NS: u64 = 1_000_000;
/// One part in so many of the mean is new.
const MEAN_WEIGHT: u64 = 16;

/// Of one HSM.
pub(super) struct Latencies([Latency; Class::COUNT]);

struct Latency {
    /// From the request to the answer.
    buckets: [AtomicU32; BUCKETS],
    samples: AtomicU32,
    /// When to ask another HSM.
    point_us: AtomicU64,
    /// Inside the library.
    mean_ns: AtomicU64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Latency {
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
            samples: AtomicU32::new(0),
            point_us: AtomicU64::new(micros(UNKNOWN_POINT)),
            mean_ns: AtomicU64::new(0),
        }))
    }

    /// `service` is the part of `total` that was spent inside the library.
    pub(super) fn learn(&self, class: Class, total: Duration, service: Duration) {
        if let Some(latency) = self.0.get(class.index()) {
            let service_ns = u64::try_from(service.as_nanos()).unwrap_or(u64::MAX);
            latency.learn(micros(total), service_ns);
        }
    }

    /// What is expected of the next one, inside the library, if there ever was one.
    pub(super) fn known(&self, class: Class) -> Option<Duration> {
        let mean_ns = self.0.get(class.index())?.mean_ns.load(Ordering::Relaxed);
        (mean_ns > 0).then(|| Duration::from_nanos(mean_ns))
    }

    /// Who has waited for so long asks another HSM.
    pub(super) fn hedge_point(&self, class: Class) -> Duration {
        let point = self.0.get(class.index()).map(|latency| latency.point_us.load(Ordering::Relaxed));
        point.map_or(UNKNOWN_POINT, Duration::from_micros)
    }
}

impl Latency {
    fn learn(&self, total_us: u64, service_ns: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(total_us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let samples = self.samples.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if samples.is_multiple_of(POINT_INTERVAL) && samples >= SAMPLES_MIN {
            self.point_us.store(self.point(), Ordering::Relaxed);
        }
        if samples.is_multiple_of(HALF_LIFE) {
            // A sample that comes meanwhile may be lost, which does not matter.
            self.buckets.iter().for_each(|bucket| {
                bucket.store(bucket.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            });
        }
        let mean_ns = next_mean(self.mean_ns.load(Ordering::Relaxed), service_ns.max(1));
        self.mean_ns.store(mean_ns, Ordering::Relaxed);
    }

    fn point(&self) -> u64 {
        let counts = self.buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed)));
        let below = (counts.clone().sum::<u64>() * PERCENTILE).div_ceil(100);
        let mut seen = 0;
        let bucket = counts
            .take_while(|count| {
                seen += count;
                seen < below
            })
            .count();
        upper_bound(bucket).clamp(micros(POINT_MIN), micros(POINT_MAX))
    }
}

fn next_mean(mean_ns: u64, sample_ns: u64) -> u64 {
    if mean_ns == 0 {
        return sample_ns;
    }
    let sample_ns = sample_ns.min(mean_ns.saturating_mul(OUTLIER).saturating_add(OUTLIER_NS));
    mean_ns - mean_ns / MEAN_WEIGHT + sample_ns / MEAN_WEIGHT
}

fn bucket_of(us: u64) -> usize {
    let us = us.max(1 << FIRST_OCTAVE);
    let octave = us.ilog2();
    let quarter = (us >> (octave - 2)) & 3;
    let bucket = u64::from(octave - FIRST_OCTAVE) * 4 + quarter;
    usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// Of a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket.min(BUCKETS)).unwrap_or_default() + 1;
    let (octave, quarter) = (bucket / 4, bucket % 4);
    (4 + quarter) << (octave + u64::from(FIRST_OCTAVE) - 2)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Latencies, POINT_MAX, POINT_MIN, UNKNOWN_POINT, bucket_of, upper_bound};
    use crate::key_manager::pkcs11::class::Class;

    const US: Duration = Duration::from_micros(1);
    const CLASS: Class = Class::Encrypt;

    fn learn(latencies: &Latencies, count: u32, time: Duration) {
        (0..count).for_each(|_| latencies.learn(CLASS, time, time));
    }

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_is_next_above_it() {
        for us in (1..100_000).chain([1_000_000, 4_000_000]) {
            let bucket = bucket_of(us);
            assert!(us < upper_bound(bucket) || bucket == 71, "{us}");
            assert!(bucket == 0 || us >= upper_bound(bucket - 1), "{us}");
            assert!(us < 16 || upper_bound(bucket) <= us + us / 4 + 1 || bucket == 71, "{us}");
        }
    }

    #[test]
    fn the_point_is_above_ninety_nine_of_a_hundred_and_between_its_bounds() {
        let latencies = Latencies::new();
        assert_eq!(latencies.hedge_point(CLASS), UNKNOWN_POINT);
        learn(&latencies, 63, 5000 * US);
        assert_eq!(latencies.hedge_point(CLASS), UNKNOWN_POINT);
        learn(&latencies, 1, 5000 * US);
        let point = latencies.hedge_point(CLASS);
        assert!((5000 * US..6300 * US).contains(&point), "{point:?}");
        learn(&latencies, 960, 50 * US);
        // 64 in 1,024 are slow.
        assert!(latencies.hedge_point(CLASS) >= 5000 * US);
        learn(&latencies, 20_000, 50 * US);
        assert_eq!(latencies.hedge_point(CLASS), POINT_MIN);
        learn(&latencies, 2048, 900_000 * US);
        assert_eq!(latencies.hedge_point(CLASS), POINT_MAX);
        assert_eq!(latencies.hedge_point(Class::Decrypt), UNKNOWN_POINT, "classes are apart");
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let latencies = Latencies::new();
        learn(&latencies, 2048, 30_000 * US);
        assert!(latencies.hedge_point(CLASS) >= 30_000 * US);
        learn(&latencies, 8 * 1024, 100 * US);
        assert_eq!(latencies.hedge_point(CLASS), POINT_MIN);
        assert!(latencies.known(CLASS).unwrap() <= 110 * US);
    }

    #[test]
    fn one_call_that_hung_does_not_make_the_next_ones_look_slow_and_a_slower_hsm_is_noticed_soon() {
        let latencies = Latencies::new();
        assert_eq!(latencies.known(CLASS), None);
        learn(&latencies, 100, 50 * US);
        learn(&latencies, 1, Duration::from_secs(60));
        assert!(latencies.known(CLASS).unwrap() < 200 * US, "{:?}", latencies.known(CLASS).unwrap());
        learn(&latencies, 30, 100_000 * US);
        assert!(latencies.known(CLASS).unwrap() > 50_000 * US, "{:?}", latencies.known(CLASS).unwrap());
    }
}
