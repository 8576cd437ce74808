//! What time it is: the one place that asks the operating system.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Wall-clock and monotonic time. Everything that depends on time takes one, so that a test can move it.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time, for signatures, certificates and logs.
    fn now(&self) -> SystemTime;

    /// Monotonic time, for deadlines and durations.
    fn instant(&self) -> Instant;

    /// Seconds since the Unix epoch; zero for a clock set before it.
    fn unix_seconds(&self) -> u64 {
        self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the place that the rule points to")]
impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Clocks whose wall-clock time runs ahead by as much as it was advanced, for development: a key that is to be deleted
/// in a week is deleted in a moment.
#[derive(Debug, Default)]
pub struct AdvancedClock {
    ahead_ms: AtomicU64,
}

impl AdvancedClock {
    /// Runs ahead by this much more; time never goes back.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let saturated = |ahead: u64| Some(ahead.saturating_add(by_ms).min(AHEAD_MS_MAX));
        let _ = self.ahead_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, saturated);
    }
}

/// A thousand years: what every calendar takes.
const AHEAD_MS_MAX: u64 = 1000 * 366 * 24 * 60 * 60 * 1000;

impl Clock for AdvancedClock {
    fn now(&self) -> SystemTime {
        SystemClock.now() + Duration::from_millis(self.ahead_ms.load(Ordering::Acquire))
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }
}
