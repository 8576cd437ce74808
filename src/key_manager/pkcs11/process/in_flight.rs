//! The jobs that a worker process has: who waits for them, and for how long it has had them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::reply::JobReply;
use crate::key_manager::pkcs11::worker::{Busy, Completed};

/// Places are told apart by the low bits of an id; the others say which job had the place.
const PLACES_MAX: u64 = 1 << 16;

pub(super) struct InFlight {
    places: Vec<Place>,
    free: Mutex<Free>,
    next: AtomicU64,
}

struct Place {
    busy: Busy,
    job: Mutex<Option<Waiting>>,
}

struct Free {
    places: Vec<usize>,
    is_closed: bool,
}

/// Who waits for an answer, and what is known of the job.
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) reply: JobReply,
    pub(super) enqueued: Instant,
    /// Its name in metrics.
    pub(super) operation: Option<&'static str>,
}

/// A place that is taken, and nobody's yet.
pub(super) struct Reserved {
    place: usize,
    pub(super) id: u64,
}

impl InFlight {
    /// There is a place for each session: what waits, waits in the daemon.
    pub(super) fn new(sessions: usize, epoch: Instant) -> Self {
        let place = || Place { busy: Busy::new(epoch), job: Mutex::new(None) };
        Self {
            places: (0..sessions).map(|_| place()).collect(),
            free: Mutex::new(Free { places: (0..sessions).collect(), is_closed: false }),
            next: AtomicU64::new(1),
        }
    }

    /// A place for another job, if there is one.
    pub(super) fn reserve(&self) -> Option<Reserved> {
        let place = self.free.lock().places.pop()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = number.wrapping_mul(PLACES_MAX) | u64::try_from(place).unwrap_or_default();
        Some(Reserved { place, id })
    }

    pub(super) fn release(&self, reserved: &Reserved) {
        self.free_place(reserved.place);
    }

    /// The job is on its way; comes back if nobody will answer it.
    pub(super) fn start(
        &self,
        reserved: &Reserved,
        waiting: Waiting,
        now: Instant,
        allowance: Duration,
    ) -> Result<(), Waiting> {
        let Some(place) = self.places.get(reserved.place) else { return Err(waiting) };
        place.busy.start_lengthy(now, allowance);
        *place.job.lock() = Some(waiting);
        if self.free.lock().is_closed
            && let Some(waiting) = self.take(reserved.id)
        {
            return Err(waiting);
        }
        Ok(())
    }

    /// The job with this id, which is not in flight any more.
    pub(super) fn take(&self, id: u64) -> Option<Waiting> {
        let index = usize::try_from(id % PLACES_MAX).ok()?;
        let place = self.places.get(index)?;
        let mut job = place.job.lock();
        if job.as_ref().is_none_or(|job| job.id != id) {
            return None;
        }
        let waiting = job.take();
        drop(job);
        place.busy.end();
        self.free_place(index);
        waiting
    }

    fn free_place(&self, place: usize) {
        let mut free = self.free.lock();
        if !free.is_closed {
            free.places.push(place);
        }
    }

    /// How many have been in the worker process for longer than `limit`.
    pub(super) fn stuck(&self, now: Instant, limit: Duration) -> usize {
        self.places.iter().filter(|place| place.busy.is_stuck(now, limit)).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(|place| place.job.lock().is_none())
    }

    /// Nobody will answer any of them, nor any more.
    pub(super) fn close(&self, reason: &str) {
        let mut free = self.free.lock();
        free.is_closed = true;
        free.places.clear();
        drop(free);
        for place in &self.places {
            if let Some(waiting) = place.job.lock().take() {
                waiting.fail(HsmError::Device(reason.to_owned()));
            }
        }
    }
}

impl Waiting {
    pub(super) fn fail(self, error: HsmError) {
        fail(self.reply, error);
    }
}

pub(super) fn fail(reply: JobReply, error: HsmError) {
    reply.send(Completed { result: Err(error), queue_wait: Duration::ZERO, hsm_time: Duration::ZERO });
}
