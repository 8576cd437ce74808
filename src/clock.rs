//! What time it is: the one place that asks the operating system.

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
