//! Latencies in buckets that are never wider than 1/64 of what they hold.

use std::time::Duration;

const SUB_BUCKETS: u64 = 64;
const SUB_BUCKET_BITS: u32 = 6;
const BUCKETS: usize = 64 * 64;

/// Counts latencies in microseconds; merging two loses nothing.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(micros);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) const fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }

    /// The latency that `per_mille` of 1000 requests stay at or below.
    pub(crate) fn percentile(&self, per_mille: u64) -> Duration {
        let rank = self.total.saturating_mul(per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in (0..).zip(&self.counts) {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper_edge(bucket).min(self.max));
            }
        }
        self.max()
    }

    /// How many took longer, as far as the buckets can tell.
    pub(crate) fn above(&self, limit: Duration) -> u64 {
        let limit = bucket(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
        self.counts.iter().skip(limit + 1).sum()
    }
}

/// Exact below 64; above, the exponent and the six bits after the leading one.
fn bucket(micros: u64) -> usize {
    let index = match micros.checked_ilog2() {
        Some(exponent) if exponent >= SUB_BUCKET_BITS => {
            let shift = exponent - SUB_BUCKET_BITS;
            u64::from(shift + 1) * SUB_BUCKETS + (micros >> shift) - SUB_BUCKETS
        }
        Some(_) | None => micros,
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The largest value of a bucket.
const fn upper_edge(bucket: u64) -> u64 {
    let (row, column) = (bucket / SUB_BUCKETS, bucket % SUB_BUCKETS);
    if row == 0 {
        return column;
    }
    let shift = row - 1;
    ((column + SUB_BUCKETS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{BUCKETS, Histogram, bucket, upper_edge};

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for (per_mille, micros) in [(500, 500), (900, 900), (990, 990), (999, 999), (1000, 1000)] {
            let got = histogram.percentile(per_mille).as_micros();
            assert!((micros..=micros + micros / 64 + 1).contains(&got), "{per_mille}: {got}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(1));
        assert_eq!(histogram.total(), 1000);
        assert!((230..=250).contains(&histogram.above(Duration::from_micros(752))));
    }

    #[test]
    fn merged_halves_are_the_whole() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        low.record(Duration::from_micros(10));
        high.record(Duration::from_secs(3));
        low.merge(&high);
        assert_eq!(
            (low.total(), low.max(), low.percentile(500)),
            (2, Duration::from_secs(3), Duration::from_micros(10))
        );
    }

    #[test]
    fn an_empty_one_has_no_latency() {
        assert_eq!(Histogram::default().percentile(990), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn each_value_is_in_a_narrow_bucket_of_its_own(micros in 0..u64::MAX / 2) {
            let index = bucket(micros);
            prop_assert!(index < BUCKETS);
            let edge = upper_edge(index as u64);
            prop_assert!(edge >= micros && edge - micros <= micros / 64);
        }
    }
}
