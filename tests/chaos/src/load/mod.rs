//! Requests that are sent when they are due, whatever became of those before: a stall hides nothing.

pub mod kms;
pub mod record;
pub mod xks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxy_api::client::{Answer, Connection, Endpoint, Failure, Outgoing};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::load::record::{Outcome, Record};

/// Whoever is not answered by then never will be.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells what an answer is worth.
pub type Judge = Box<dyn FnOnce(&Answer) -> Outcome + Send>;

/// A request, and what its answer must be.
pub struct Prepared {
    pub outgoing: Outgoing,
    pub judge: Judge,
}

/// A mixture of requests.
pub trait Work: Send + Sync + 'static {
    fn prepare(&self, index: u64) -> Prepared;
    fn endpoint(&self) -> &Endpoint;
}

/// How many requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many a second: an open loop.
    PerSecond(u64),
    /// As soon as the last one is answered, over each connection: a closed loop.
    Closed,
}

/// Requests under way.
pub struct Load {
    shared: Arc<Shared>,
    lanes: JoinSet<Vec<Record>>,
    runtime: Runtime,
}

struct Shared {
    work: Arc<dyn Work>,
    pace: Pace,
    /// What all times are counted from.
    origin: Instant,
    started: Instant,
    stop: AtomicBool,
    next: AtomicU64,
    /// How many requests there are, once that is known.
    total: AtomicU64,
    /// A permit for each request that is due and not yet sent.
    due: Semaphore,
}

impl Load {
    /// Opens the connections, then starts.
    pub fn start(work: Arc<dyn Work>, pace: Pace, connections: usize, origin: Instant) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let endpoint = work.endpoint().clone();
        let opened = runtime.block_on(async {
            let mut opened = Vec::new();
            for _ in 0..connections {
                opened.push(timeout(PATIENCE, Connection::open(&endpoint)).await.ok().and_then(Result::ok));
            }
            opened
        });
        let shared = Arc::new(Shared {
            work,
            pace,
            origin,
            started: Instant::now(),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
            due: Semaphore::new(0),
        });
        let mut lanes = JoinSet::new();
        for connection in opened {
            lanes.spawn_on(run(connection, Arc::clone(&shared)), runtime.handle());
        }
        if let Pace::PerSecond(rate) = pace {
            let keeper = Arc::clone(&shared);
            thread::spawn(move || keeper.keep(rate, connections));
        }
        Self { shared, lanes, runtime }
    }

    /// Sends nothing more; what was due is sent still. Returns what became of each request.
    pub fn stop(mut self) -> Vec<Record> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut records = Vec::new();
        self.runtime.block_on(async {
            while let Some(lane) = self.lanes.join_next().await {
                records.extend(lane.unwrap());
            }
        });
        records.sort_by_key(|record| record.due);
        records
    }
}

impl Shared {
    fn due_at(&self, index: u64, rate: u64) -> Instant {
        self.started + Duration::from_nanos(index * 1_000_000_000 / rate)
    }

    /// On a thread of its own, because the timers of the runtime are good to a millisecond only.
    fn keep(&self, rate: u64, connections: usize) {
        let mut index = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let wait = self.due_at(index, rate).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                thread::sleep(wait.min(Duration::from_millis(50)));
                continue;
            }
            self.due.add_permits(1);
            index += 1;
        }
        self.total.store(index, Ordering::SeqCst);
        // Everybody who waits finds that there is nothing left.
        self.due.add_permits(connections);
    }

    async fn next(&self) -> Option<(u64, Instant)> {
        match self.pace {
            Pace::Closed => {
                let goes_on = !self.stop.load(Ordering::SeqCst);
                goes_on.then(|| (self.next.fetch_add(1, Ordering::SeqCst), Instant::now()))
            }
            Pace::PerSecond(rate) => {
                self.due.acquire().await.unwrap().forget();
                let index = self.next.fetch_add(1, Ordering::SeqCst);
                (index < self.total.load(Ordering::SeqCst)).then(|| (index, self.due_at(index, rate)))
            }
        }
    }
}

async fn run(mut connection: Option<Connection>, shared: Arc<Shared>) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((index, due)) = shared.next().await {
        let Prepared { outgoing, judge } = shared.work.prepare(index);
        let sent = Instant::now();
        let kept = connection.take().and_then(|mut kept| kept.is_open().then_some(kept));
        let exchange = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(shared.work.endpoint()).await?,
            };
            let answer = connection.send(outgoing).await?;
            Ok::<_, Failure>((connection, answer))
        };
        let answered = timeout(PATIENCE, exchange).await;
        let done = Instant::now();
        let outcome = match answered {
            Ok(Ok((used, answer))) => {
                connection = Some(used);
                judge(&answer)
            }
            Ok(Err(failure)) => Outcome::Lost(failure.to_string()),
            Err(_) => Outcome::Lost("no answer at all".to_owned()),
        };
        let since = |moment: Instant| moment.saturating_duration_since(shared.origin);
        records.push(Record { due: since(due), sent: since(sent), done: since(done), outcome });
    }
    records
}
