//! What waits to be written, and what the writing thread lets others know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use crate::audit::chain::Link;
use crate::audit::entry::PublicKey;
use crate::audit::sinks::Sinks;
use crate::audit::{Act, Limits, Record, Unkept, WhenFull};
use crate::clock::Clock;

/// How long records are gathered when nobody waits: waking a thread for each costs more than the record.
const GATHER: Duration = Duration::from_millis(5);
/// A disk that has been at one call for so long does not work.
const STALL: Duration = Duration::from_secs(1);

pub(super) type Waiting<T> = oneshot::Sender<Result<T, Unkept>>;

pub(super) enum Item {
    Record(Record),
    Intent(Record, Waiting<()>),
    /// A whole line of ours but for its chain.
    Object(Vec<u8>),
    /// Signs from now on.
    Key(PublicKey),
    Sinks(Sinks),
    /// Wants to know when what came before is written.
    Settle(Waiting<()>),
    /// The same when it is on the disk, and which line is the last.
    Sync(Waiting<Link>),
}

impl Item {
    /// What it takes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Record(record) | Self::Intent(record, _) => record.json.len(),
            Self::Object(object) => object.len(),
            Self::Key(_) | Self::Sinks(_) | Self::Settle(_) | Self::Sync(_) => 0,
        }
    }

    fn is_urgent(&self) -> bool {
        match self {
            Self::Intent(..) | Self::Settle(_) | Self::Sync(_) => true,
            Self::Record(_) | Self::Object(_) | Self::Key(_) | Self::Sinks(_) => false,
        }
    }
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    /// Somebody waits.
    is_urgent: bool,
    is_ending: bool,
    has_ended: bool,
    /// Records that were given up.
    dropped: u64,
}

/// What the thread takes at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) dropped: u64,
    pub(super) is_ending: bool,
}

/// Between those who append and the thread that writes.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    woken: Condvar,
    ended: Condvar,
    pub(super) limits: Mutex<Limits>,
    buffer_bytes_max: AtomicUsize,
    drops_when_full: AtomicBool,
    /// Appended and not written.
    buffered_bytes: AtomicUsize,
    /// The last write failed, and why.
    failure: ArcSwapOption<Unkept>,
    is_low: AtomicBool,
    /// When the present call to the disk began, in milliseconds since `epoch`, plus one; zero if there is none.
    busy_since_ms: AtomicU64,
    epoch: Instant,
    /// A file was finished: a checkpoint would be good.
    pub(super) rotated: Notify,
    pub(super) clock: Arc<dyn Clock>,
}

impl Shared {
    pub(super) fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let shared = Self {
            queue: Mutex::default(),
            woken: Condvar::new(),
            ended: Condvar::new(),
            buffer_bytes_max: AtomicUsize::new(0),
            drops_when_full: AtomicBool::new(false),
            buffered_bytes: AtomicUsize::new(0),
            failure: ArcSwapOption::empty(),
            is_low: AtomicBool::new(false),
            busy_since_ms: AtomicU64::new(0),
            epoch: clock.instant(),
            rotated: Notify::new(),
            limits: Mutex::new(limits.clone()),
            clock,
        };
        shared.set_limits(limits);
        shared
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.buffer_bytes_max.store(limits.buffer_bytes_max, Ordering::Relaxed);
        self.drops_when_full.store(limits.when_full == WhenFull::Drop, Ordering::Relaxed);
        *self.limits.lock() = limits;
    }

    pub(super) fn admits(&self, act: Act) -> Result<(), Unkept> {
        match act {
            Act::Change => match self.failure.load().as_deref() {
                Some(unkept) => Err(unkept.clone()),
                None if self.is_low.load(Ordering::Relaxed) => Err(Unkept::Full),
                None => Ok(()),
            },
            Act::Use if self.drops_when_full.load(Ordering::Relaxed) => Ok(()),
            Act::Use => self.overflow().map_or(Ok(()), Err),
        }
    }

    /// Why nothing more is taken, if so.
    fn overflow(&self) -> Option<Unkept> {
        if self.buffered_bytes() <= self.buffer_bytes_max.load(Ordering::Relaxed) {
            return None;
        }
        let failure = self.failure.load().as_deref().cloned();
        failure.or_else(|| self.is_stalled().then(|| Unkept::Unavailable("the disk hangs".to_owned())))
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes.load(Ordering::Relaxed)
    }

    fn is_stalled(&self) -> bool {
        let since = self.busy_since_ms.load(Ordering::Relaxed);
        since != 0 && u128::from(self.millis().saturating_sub(since - 1)) >= STALL.as_millis()
    }

    fn millis(&self) -> u64 {
        let elapsed = self.clock.instant().saturating_duration_since(self.epoch);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Takes a record, unless records are given up now.
    pub(super) fn append(&self, record: Record) {
        if self.drops_when_full.load(Ordering::Relaxed) && self.overflow().is_some() {
            self.queue.lock().dropped += 1;
            return;
        }
        self.push(Item::Record(record));
    }

    /// Puts something in line; after the end it is lost, and whoever waits for it is told.
    pub(super) fn push(&self, item: Item) {
        let (bytes, is_urgent) = (item.bytes(), item.is_urgent());
        let mut queue = self.queue.lock();
        if queue.has_ended {
            return;
        }
        let wakes = queue.items.is_empty() || (is_urgent && !queue.is_urgent);
        queue.is_urgent |= is_urgent;
        queue.items.push(item);
        self.buffered_bytes.fetch_add(bytes, Ordering::Relaxed);
        drop(queue);
        if wakes {
            self.woken.notify_one();
        }
    }

    /// Waits for something to write, at most so long, and then a little for more.
    pub(super) fn take(&self, patience: Duration) -> Batch {
        let mut queue = self.queue.lock();
        let deadline = self.clock.instant() + patience;
        while queue.items.is_empty() && !queue.is_ending {
            if self.woken.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        let gathered = self.clock.instant() + GATHER;
        while !queue.items.is_empty() && !queue.is_urgent && !queue.is_ending {
            if self.woken.wait_until(&mut queue, gathered).timed_out() {
                break;
            }
        }
        queue.is_urgent = false;
        Batch {
            items: std::mem::take(&mut queue.items),
            dropped: std::mem::take(&mut queue.dropped),
            is_ending: queue.is_ending,
        }
    }

    /// So much of what was appended is in the file.
    pub(super) fn written(&self, bytes: usize) {
        self.buffered_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_failure(&self, failure: Option<Unkept>) {
        self.failure.store(failure.map(Arc::new));
    }

    pub(super) fn failure(&self) -> Option<Unkept> {
        self.failure.load().as_deref().cloned()
    }

    pub(super) fn set_low(&self, is_low: bool) {
        self.is_low.store(is_low, Ordering::Relaxed);
    }

    /// Remembers how long the disk takes for this.
    pub(super) fn with_disk<T>(&self, call: impl FnOnce() -> T) -> T {
        self.busy_since_ms.store(self.millis() + 1, Ordering::Relaxed);
        let result = call();
        self.busy_since_ms.store(0, Ordering::Relaxed);
        result
    }

    /// Has the thread write what it has, and end.
    pub(super) fn end(&self) {
        self.queue.lock().is_ending = true;
        self.woken.notify_one();
    }

    /// The thread will take nothing any more.
    pub(super) fn set_ended(&self) {
        let mut queue = self.queue.lock();
        queue.has_ended = true;
        // Whoever waits is told by this.
        queue.items.clear();
        drop(queue);
        self.ended.notify_all();
    }

    /// Whether the thread has ended within this time.
    pub(super) fn wait_for_end(&self, patience: Duration) -> bool {
        let deadline = self.clock.instant() + patience;
        let mut queue = self.queue.lock();
        while !queue.has_ended {
            if self.ended.wait_until(&mut queue, deadline).timed_out() {
                return queue.has_ended;
            }
        }
        true
    }
}
