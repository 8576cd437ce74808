//! How often a library is initialized anew while its token is gone.

use std::time::{Duration, Instant};

/// Alone, a token is back in service this soon after it is back, and a probe.
const INTERVAL: Duration = Duration::from_millis(300);
/// After so many in vain, it is no restart of an HSM any more.
const BRIEF_MAX: u32 = 200;
const INTERVAL_LATER: Duration = Duration::from_secs(1);
/// Initializing the library ends the sessions of every token that it serves: while one of the others works, not more
/// often than this, and ever less often.
const INTERVAL_SHARED: Duration = Duration::from_secs(10);
const INTERVAL_SHARED_MAX: Duration = Duration::from_secs(160);
/// A library that takes long for it is not busy with nothing else.
const SHARE: u32 = 4;

/// What was tried since the token was last well.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    took: Duration,
    in_vain: u32,
}

impl Pace {
    pub(super) fn is_due(&self, now: Instant, others_work: bool) -> bool {
        let interval = self.interval(others_work);
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= interval)
    }

    fn interval(&self, others_work: bool) -> Duration {
        let interval = if others_work {
            let doublings = self.in_vain.saturating_sub(1).min(16);
            INTERVAL_SHARED.saturating_mul(1 << doublings).min(INTERVAL_SHARED_MAX)
        } else if self.in_vain <= BRIEF_MAX {
            INTERVAL
        } else {
            INTERVAL_LATER
        };
        interval.max(self.took.saturating_mul(SHARE))
    }

    pub(super) fn initialized(&mut self, started: Instant, ended: Instant) {
        self.last = Some(ended);
        self.took = ended.saturating_duration_since(started);
        self.in_vain = self.in_vain.saturating_add(1);
    }

    /// The token is well: the next time it is gone is another one.
    pub(super) const fn well(&mut self) {
        self.in_vain = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BRIEF_MAX, Pace};
    use crate::clock::{Clock, SystemClock};

    /// When the next initialization is due, in milliseconds after the last.
    fn due_ms(pace: &Pace, last: Instant, others_work: bool) -> u64 {
        let due = |ms: &u64| pace.is_due(last + Duration::from_millis(*ms), others_work);
        (0..200_000).step_by(100).find(due).unwrap()
    }

    #[test]
    fn a_token_alone_is_looked_for_often_and_one_with_neighbours_ever_less_often() {
        let now = SystemClock.instant();
        let mut pace = Pace::default();
        assert!(pace.is_due(now, true) && pace.is_due(now, false));
        for shared_ms in [10_000, 20_000, 40_000, 80_000, 160_000, 160_000] {
            pace.initialized(now, now);
            assert_eq!((due_ms(&pace, now, false), due_ms(&pace, now, true)), (300, shared_ms));
        }
        pace.well();
        pace.initialized(now, now);
        assert_eq!(due_ms(&pace, now, true), 10_000);
        (0..BRIEF_MAX).for_each(|_| pace.initialized(now, now));
        assert_eq!(due_ms(&pace, now, false), 1_000);
    }

    #[test]
    fn a_library_that_takes_long_is_left_alone_for_longer() {
        let now = SystemClock.instant();
        let mut pace = Pace::default();
        let ended = now + Duration::from_secs(1);
        pace.initialized(now, ended);
        assert_eq!(due_ms(&pace, ended, false), 4_000);
    }
}
