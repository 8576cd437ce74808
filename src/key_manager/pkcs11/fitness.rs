//! How fit an HSM is to serve: what it has in hand, how fast it has been, and its circuit breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};

use crate::clock::Clock;
use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::breaker::{Admission, Breaker, BreakerState};
use crate::key_manager::pkcs11::class::Class;
use crate::key_manager::pkcs11::latency::Latencies;
use crate::key_manager::pkcs11::module::HANG_LIMIT;
use crate::metrics::HsmMetrics;

/// An HSM on trial gets no more at a time.
const TRIALS_MAX: usize = 2;

/// Of one HSM; its jobs have it too, and tell it what became of them.
pub(super) struct Fitness {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    metrics: Arc<HsmMetrics>,
    latencies: Latencies,
    breaker: Mutex<Breaker>,
    /// The same as the breaker says, so that requests need not lock it.
    admission: AtomicU8,
    /// Jobs that wait or are worked on, also those that nobody waits for any more: a call that hangs is work in hand.
    jobs: AtomicUsize,
    /// What they are expected to take in all.
    work_us: AtomicU64,
    /// Good answers, and answers that were failures.
    answers: AtomicU64,
    /// Times are in microseconds since then, from one on; zero is never.
    epoch: Instant,
    last_answer: AtomicU64,
    /// When it got the first of the jobs that it has in hand.
    busy_since: AtomicU64,
    taken_out: Notify,
}

/// A job in the hands of the HSM, until this is dropped.
pub(super) struct Ticket {
    fitness: Arc<Fitness>,
    class: Class,
    cost_us: u64,
    asked: Instant,
}

impl Fitness {
    pub(super) fn new(name: Arc<str>, metrics: Arc<HsmMetrics>, clock: Arc<dyn Clock>) -> Self {
        let epoch = clock.instant();
        metrics.set_breaker(BreakerState::Closed.as_str(), BreakerState::ALL.map(BreakerState::as_str));
        Self {
            name,
            clock,
            metrics,
            latencies: Latencies::new(),
            breaker: Mutex::new(Breaker::new(epoch)),
            admission: AtomicU8::new(0),
            jobs: AtomicUsize::new(0),
            work_us: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            epoch,
            last_answer: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            taken_out: Notify::new(),
        }
    }

    /// `stuck` jobs are in hand that nobody waits for.
    pub(super) fn admission(&self, stuck: usize) -> Admission {
        match self.admission.load(Ordering::Acquire) {
            0 => Admission::Freely,
            1 if self.jobs() < TRIALS_MAX + stuck => Admission::OnTrial,
            1 | 2 => Admission::LastResort,
            _ => Admission::Never,
        }
    }

    /// Jobs in hand.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    /// When it would be done with another job of this class, with so many sessions. That it has been silent for
    /// unusually long counts as much: what hangs in it might be a single job, which looks like little work. Of a class
    /// of which nothing is known the best is hoped, or it would never be known.
    pub(super) fn expected_with(&self, class: Class, sessions: u32, now: Instant) -> Duration {
        let work = Duration::from_micros(self.work_us.load(Ordering::Relaxed));
        let work = (work + self.latencies.known(class).unwrap_or_default()) / sessions.max(1);
        if self.jobs() == 0 {
            return work;
        }
        let since = self.busy_since.load(Ordering::Relaxed).max(self.last_answer.load(Ordering::Relaxed));
        let silence = Duration::from_micros(self.micros(now).saturating_sub(since));
        if silence > self.hedge_point(class) { work + silence.min(HANG_LIMIT) } else { work }
    }

    pub(super) fn hedge_point(&self, class: Class) -> Duration {
        self.latencies.hedge_point(class)
    }

    /// Its state, and why it is not closed.
    pub(super) fn breaker(&self) -> (BreakerState, String) {
        let breaker = self.breaker.lock();
        (breaker.state(), breaker.reason().to_owned())
    }

    /// Completes when the HSM is taken out; from now on, if it is polled or not.
    pub(super) fn taken_out(&self) -> Notified<'_> {
        self.taken_out.notified()
    }

    /// Whether nothing was answered since.
    pub(super) fn is_silent_since(&self, since: Instant) -> bool {
        self.last_answer.load(Ordering::Relaxed) < self.micros(since)
    }

    /// What a job of this class is expected to take.
    pub(super) fn cost(&self, class: Class) -> Duration {
        self.latencies.known(class).unwrap_or_else(|| class.usual())
    }

    pub(super) fn ticket(self: &Arc<Self>, class: Class, asked: Instant) -> Ticket {
        let cost_us = u64::try_from(self.cost(class).as_micros()).unwrap_or(u64::MAX);
        if self.jobs.fetch_add(1, Ordering::Relaxed) == 0 {
            self.busy_since.store(self.micros(asked), Ordering::Relaxed);
        }
        self.work_us.fetch_add(cost_us, Ordering::Relaxed);
        Ticket { fitness: Arc::clone(self), class, cost_us, asked }
    }

    /// A request that came in at `asked` waits no longer.
    pub(super) fn gave_up(&self, asked: Instant, now: Instant) {
        if self.is_silent_since(asked) {
            let waited = now.saturating_duration_since(asked).as_millis();
            let reason = format!("nothing answered within {waited} ms");
            self.change(|breaker| breaker.fell_silent(&reason, (asked, now)));
        }
    }

    pub(super) fn probe_passed(&self) {
        let now = self.clock.instant();
        self.change(|breaker| breaker.probe_passed(now));
    }

    pub(super) fn probe_failed(&self, reason: &str) {
        let now = self.clock.instant();
        self.change(|breaker| breaker.probe_failed(reason, now));
    }

    /// What it answered, as its answer of this number.
    fn note(&self, error: Option<&HsmError>, answer: u64, asked: Instant) {
        let now = self.clock.instant();
        match error {
            Some(HsmError::Corrupted(reason)) => {
                self.metrics.corruptions.inc();
                tracing::error!(hsm = %self.name, reason, "HSM {} is quarantined: {reason}", self.name);
                self.change(|breaker| breaker.corrupted(reason, now));
            }
            Some(HsmError::Device(reason)) => self.change(|breaker| breaker.failed(answer, reason, now)),
            // Neither a fault of the HSM nor proof that it is well.
            Some(HsmError::Busy | HsmError::DeadlineExceeded | HsmError::Unavailable(_)) => {}
            None
            | Some(
                HsmError::BadCiphertext
                | HsmError::BadKeyMaterial
                | HsmError::KeyMissing
                | HsmError::TooLong
                | HsmError::Unsupported(_)
                | HsmError::UsageRefused,
            ) => {
                // Whatever else, it was the HSM that said so.
                if self.admission.load(Ordering::Acquire) == 1 {
                    self.change(|breaker| breaker.succeeded(asked, now));
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Breaker)) {
        let mut breaker = self.breaker.lock();
        let before = (breaker.state(), breaker.admission());
        change(&mut breaker);
        let (state, reason) = (breaker.state(), breaker.reason().to_owned());
        if before == (state, breaker.admission()) {
            return;
        }
        let admission = match breaker.admission() {
            Admission::Freely | Admission::Behind => 0,
            Admission::OnTrial => 1,
            Admission::LastResort => 2,
            Admission::Never => 3,
        };
        self.admission.store(admission, Ordering::Release);
        drop(breaker);
        if before.0 != state {
            self.publish(state, &reason);
        }
    }

    fn publish(&self, state: BreakerState, reason: &str) {
        let (hsm, breaker) = (&self.name, state.as_str());
        self.metrics.set_breaker(breaker, BreakerState::ALL.map(BreakerState::as_str));
        match state {
            BreakerState::Closed => tracing::info!(%hsm, breaker, "HSM {hsm} gets requests again"),
            BreakerState::HalfOpen => tracing::info!(%hsm, breaker, "HSM {hsm} is {reason}"),
            BreakerState::Open | BreakerState::Quarantined => {
                tracing::warn!(%hsm, breaker, reason, "HSM {hsm} is taken out: {reason}");
                self.taken_out.notify_waiters();
            }
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Ticket {
    /// Whether nothing that the HSM answers may leave: it has answered something wrong.
    pub(super) fn is_quarantined(&self) -> bool {
        self.fitness.admission(0) == Admission::Never
    }

    /// The HSM has answered: well, or with an error.
    pub(super) fn answered(self, error: Option<&HsmError>, queue_wait: Duration, service: Duration) {
        let fitness = &self.fitness;
        // Nobody asked the HSM.
        if matches!(error, Some(HsmError::Busy | HsmError::DeadlineExceeded)) {
            return;
        }
        let answer = fitness.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let at = fitness.micros(self.asked + queue_wait + service);
        fitness.last_answer.fetch_max(at, Ordering::Relaxed);
        if error.is_none() {
            fitness.latencies.learn(self.class, queue_wait + service, service);
        }
        // Nothing is told of a good answer to an HSM that is well: that is the way of most requests.
        if error.is_some() || fitness.admission.load(Ordering::Acquire) != 0 {
            fitness.note(error, answer, self.asked);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.fitness.jobs.fetch_sub(1, Ordering::Relaxed);
        self.fitness.work_us.fetch_sub(self.cost_us, Ordering::Relaxed);
    }
}
