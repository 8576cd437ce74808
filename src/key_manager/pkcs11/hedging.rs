//! How many requests may be asked of a second HSM: a share of all, and some more for the moment in which an HSM hangs.

use std::sync::atomic::{AtomicU32, Ordering};

/// A request puts in a hundredth of this for each percent; one to a second HSM takes it out.
const HEDGE: u32 = 100;
/// What an HSM has in its hands when it begins to hang, and what it gets until that is known for sure.
const BURST: u32 = 128 * HEDGE;

/// Of one group of HSMs.
pub(super) struct HedgeBudget {
    /// A request adds as many hundredths of a hedge.
    share_percent: u32,
    saved: AtomicU32,
}

impl HedgeBudget {
    /// With a share of zero nothing is ever asked twice.
    pub(super) fn new(share_max_percent: u8) -> Self {
        let share_percent = u32::from(share_max_percent);
        Self { share_percent, saved: AtomicU32::new(if share_percent == 0 { 0 } else { BURST }) }
    }

    pub(super) fn is_off(&self) -> bool {
        self.share_percent == 0
    }

    pub(super) fn count_request(&self) {
        let saved = self.saved.load(Ordering::Relaxed);
        if saved < BURST && self.share_percent > 0 {
            self.saved.fetch_add(self.share_percent, Ordering::Relaxed);
        }
    }

    /// Whether one more request may be asked twice.
    pub(super) fn take(&self) -> bool {
        let spend = |saved: u32| saved.checked_sub(HEDGE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, HEDGE, HedgeBudget};

    fn taken(budget: &HedgeBudget, most: u32) -> u32 {
        (0..most).filter(|_| budget.take()).count().try_into().unwrap()
    }

    #[test]
    fn a_burst_is_there_from_the_start_and_then_a_share_of_the_requests() {
        let budget = HedgeBudget::new(5);
        assert_eq!(taken(&budget, 1000), BURST / HEDGE);
        (0..1000).for_each(|_| budget.count_request());
        assert_eq!(taken(&budget, 1000), 50);
        (0..1_000_000).for_each(|_| budget.count_request());
        assert_eq!(taken(&budget, 1000), BURST / HEDGE, "what is saved has a bound");
    }

    #[test]
    fn a_share_of_zero_switches_it_off() {
        let budget = HedgeBudget::new(0);
        (0..1000).for_each(|_| budget.count_request());
        assert!(budget.is_off() && !budget.take());
    }
}
