//! When requests are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::Options;

pub struct Pace {
    pub started: Instant,
    duration: Duration,
    requests: Option<u64>,
    next: AtomicU64,
    schedule: Option<Schedule>,
}

struct Schedule {
    interval: Duration,
    total: u64,
    /// A permit for each request that is due and not yet sent.
    due: Arc<Semaphore>,
}

impl Pace {
    pub fn start(options: &Options) -> Self {
        let (started, duration) = (Instant::now(), Duration::from_secs(options.seconds));
        let schedule = options.rate.map(|rate| Schedule::start(rate, rate * options.seconds, started));
        Self { started, duration, requests: options.requests, next: AtomicU64::new(0), schedule }
    }

    /// The number of the next request and when it was due; nothing at the end.
    pub async fn next(&self) -> Option<(u64, Instant)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(schedule) = &self.schedule else {
            let now = Instant::now();
            let is_due = match self.requests {
                Some(requests) => index < requests,
                None => now.duration_since(self.started) < self.duration,
            };
            return is_due.then_some((index, now));
        };
        if index >= schedule.total {
            return None;
        }
        schedule.due.acquire().await.unwrap().forget();
        Some((index, self.started + schedule.interval * index as u32))
    }
}

impl Schedule {
    /// On a thread of its own, because the timers of the runtime are good to a millisecond only.
    fn start(rate: u64, total: u64, started: Instant) -> Self {
        let due = Arc::new(Semaphore::new(0));
        let interval = Duration::from_secs(1) / rate as u32;
        let permits = Arc::clone(&due);
        std::thread::spawn(move || {
            for index in 0..total {
                let wait = (started + interval * index as u32).saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    std::thread::sleep(wait);
                }
                permits.add_permits(1);
            }
        });
        Self { interval, total, due }
    }
}
