//! What time it is, and waiting for something.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

const POLL: Duration = Duration::from_millis(5);

pub fn unix_seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Looks again and again, at most until the time is up. Returns whether it came about.
pub fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        thread::sleep(POLL);
    }
}
