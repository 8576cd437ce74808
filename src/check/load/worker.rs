//! Connections that send when a request is due, on threads of their own, away from the runtime of the caller.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::StatusCode;
use proxy_api::client::{Connection, Endpoint, Failure};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Barrier, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::check::judge::described;
use crate::check::load::histogram::Histogram;
use crate::check::load::requests::Requests;
use crate::clock::Clock;

const NEVER_SENT: &str = "never sent, because the requests before it took too long";
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// When requests are due.
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    duration: Duration,
    next: AtomicU64,
    /// Absent in a closed loop, where each request is due as soon as a connection is free.
    schedule: Option<Schedule>,
}

struct Schedule {
    rate: u64,
    total: u64,
    /// A permit for each request that is due and not yet sent.
    due: Semaphore,
}

/// A thread with its share of the connections.
pub(crate) struct Worker {
    pub connections: u16,
    pub endpoint: Endpoint,
    pub deadline: Duration,
    pub pace: Arc<Pace>,
    pub requests: Arc<Requests>,
}

/// What requests came to.
#[derive(Default)]
pub(crate) struct Tally {
    /// Of the requests that were answered with 200, from when they were due.
    pub latencies: Histogram,
    /// The others, by reason.
    pub errors: BTreeMap<String, u64>,
    /// When the last answer came, from the start.
    pub elapsed: Duration,
}

/// One connection.
struct Lane {
    worker: Arc<Worker>,
    connection: Option<Connection>,
    tally: Tally,
}

impl Pace {
    pub(crate) fn new(rate: Option<u32>, duration: Duration, clock: Arc<dyn Clock>) -> Self {
        let schedule = rate.map(u64::from).map(|rate| Schedule {
            rate,
            total: rate.saturating_mul(duration.as_secs()),
            due: Semaphore::new(0),
        });
        Self { clock, duration, next: AtomicU64::new(0), schedule }
    }

    /// The number of the next request and when it was due, or nothing at the end.
    async fn next(&self, start: Instant) -> Option<(u64, Instant)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(schedule) = &self.schedule else {
            let now = self.clock.instant();
            return (now.duration_since(start) < self.duration).then_some((index, now));
        };
        if index >= schedule.total {
            return None;
        }
        schedule.due.acquire().await.ok()?.forget();
        Some((index, schedule.due_at(index, start)))
    }

    /// Runs on a thread of its own, because the timers of the runtime are good to a millisecond only.
    fn keep_schedule(&self, start: Instant) {
        let Some(schedule) = &self.schedule else { return };
        for index in 0..schedule.total {
            let wait = schedule.due_at(index, start).saturating_duration_since(self.clock.instant());
            if !wait.is_zero() {
                thread::sleep(wait);
            }
            schedule.due.add_permits(1);
        }
    }
}

impl Schedule {
    fn due_at(&self, index: u64, start: Instant) -> Instant {
        start + Duration::from_nanos(index.saturating_mul(NANOS_PER_SECOND) / self.rate)
    }
}

/// Runs all workers to their end. The clock starts when every connection has been opened and used once.
pub(crate) async fn run_all(workers: Vec<Worker>, pace: &Arc<Pace>) -> io::Result<Tally> {
    let lanes: usize = workers.iter().map(|worker| usize::from(worker.connections)).sum();
    let ready = Arc::new(Barrier::new(lanes + 1));
    let (begin, begun) = watch::channel(None);
    let mut tallies = Vec::new();
    for worker in workers {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, begun) = (Arc::clone(&ready), begun.clone());
        let (done, tally) = oneshot::channel();
        thread::Builder::new().name("load".to_owned()).spawn(move || {
            // Nobody is there to take the tally only if the caller gave up.
            let _ = done.send(worker.run(&runtime, &ready, &begun));
        })?;
        tallies.push(tally);
    }
    ready.wait().await;
    let start = pace.clock.instant();
    begin.send_replace(Some(start));
    let keeper = Arc::clone(pace);
    thread::Builder::new().name("pace".to_owned()).spawn(move || keeper.keep_schedule(start))?;
    let mut whole = Tally::default();
    for tally in tallies {
        whole.merge(&tally.await.map_err(io::Error::other)?);
    }
    Ok(whole)
}

impl Worker {
    /// A proxy that has stalled does not hold the measurement up for ever.
    fn latest_start(&self) -> Duration {
        self.pace.duration.saturating_add(self.deadline)
    }

    fn run(self, runtime: &Runtime, ready: &Arc<Barrier>, begun: &watch::Receiver<Option<Instant>>) -> Tally {
        let worker = Arc::new(self);
        runtime.block_on(async {
            let mut lanes = JoinSet::new();
            for _ in 0..worker.connections {
                let lane = Lane { worker: Arc::clone(&worker), connection: None, tally: Tally::default() };
                lanes.spawn(lane.run(Arc::clone(ready), begun.clone()));
            }
            let mut tally = Tally::default();
            while let Some(lane) = lanes.join_next().await {
                tally.merge(&lane.unwrap_or_default());
            }
            tally
        })
    }
}

impl Lane {
    async fn run(mut self, ready: Arc<Barrier>, mut begun: watch::Receiver<Option<Instant>>) -> Tally {
        // The first request opens the connection; if it fails, those that count will say so.
        let _ = self.exchange(0).await;
        ready.wait().await;
        let start = begun.wait_for(Option::is_some).await.ok().and_then(|start| *start);
        let Some(start) = start else { return self.tally };
        let worker = Arc::clone(&self.worker);
        while let Some((index, due)) = worker.pace.next(start).await {
            let is_late =
                worker.pace.clock.instant().saturating_duration_since(start) > worker.latest_start();
            let outcome = if is_late { Err(NEVER_SENT.to_owned()) } else { self.exchange(index).await };
            let now = worker.pace.clock.instant();
            match outcome {
                Ok(()) => self.tally.latencies.record(now.saturating_duration_since(due)),
                Err(reason) => *self.tally.errors.entry(reason).or_default() += 1,
            }
            self.tally.elapsed = now.saturating_duration_since(start);
        }
        self.tally
    }

    async fn exchange(&mut self, index: u64) -> Result<(), String> {
        let now_unix_seconds = self.worker.pace.clock.unix_seconds();
        let outgoing =
            self.worker.requests.signed(index, now_unix_seconds).ok_or("a request that cannot be signed")?;
        let kept = self.connection.take().and_then(|mut kept| kept.is_open().then_some(kept));
        let exchange = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&self.worker.endpoint).await?,
            };
            let answer = connection.send(outgoing).await?;
            Ok::<_, Failure>((connection, answer))
        };
        let (connection, answer) = timeout(self.worker.deadline, exchange)
            .await
            .unwrap_or(Err(Failure::AnswerTimeout))
            .map_err(|failure| failure.to_string())?;
        self.connection = Some(connection);
        if answer.status == StatusCode::OK { Ok(()) } else { Err(described(&answer)) }
    }
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        for (reason, count) in &other.errors {
            *self.errors.entry(reason.clone()).or_default() += count;
        }
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}
