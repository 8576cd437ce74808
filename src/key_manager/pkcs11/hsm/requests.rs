//! Which requests an HSM gets, and what it does not take.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::key_manager::pkcs11::breaker::Admission;
use crate::key_manager::pkcs11::class::Class;
use crate::key_manager::pkcs11::engine::Interruption;
use crate::key_manager::pkcs11::hsm::{Hsm, stopped};
use crate::key_manager::pkcs11::job_queue::{Arrival, Flow, NotQueued};
use crate::key_manager::pkcs11::reply::{JobReply, quarantined};
use crate::key_manager::pkcs11::worker::{Completed, Job, Task};
use crate::key_manager::{HealthState, HsmError};

impl Hsm {
    /// Which requests it gets, and how long a session of it would be busy if it got one more of this class.
    pub(in crate::key_manager::pkcs11) fn standing(
        &self,
        class: Class,
        now: Instant,
    ) -> (Admission, Duration) {
        let (fitness, stuck) = (self.fitness(), self.sessions_stuck(now));
        let free = u32::try_from(self.sessions().saturating_sub(stuck)).unwrap_or(u32::MAX);
        let admission = match self.health.load().state_at(now) {
            HealthState::Active if stuck == 0 => fitness.admission(0),
            HealthState::Active | HealthState::Degraded => fitness.admission(stuck).max(Admission::Behind),
            HealthState::Unavailable => fitness.admission(stuck).max(Admission::LastResort),
        };
        let is_vacant = self.engine.interruption(now).is_some();
        let admission = if free == 0 || is_vacant { admission.max(Admission::LastResort) } else { admission };
        (admission, fitness.expected_with(class, free, now))
    }

    /// An HSM without work cannot hang in it.
    fn sessions_stuck(&self, now: Instant) -> usize {
        if self.fitness().jobs() == 0 { 0 } else { self.engine.sessions_stuck(now) }
    }

    /// Puts a job into the queue. A hung library costs the caller nothing once all sessions hang.
    pub(in crate::key_manager::pkcs11) fn submit(
        &self,
        task: Task,
        flow: Flow,
        (now, deadline): (Instant, Instant),
    ) -> Result<oneshot::Receiver<Completed>, HsmError> {
        let fitness = self.fitness();
        if fitness.admission(0) == Admission::Never {
            return Err(self.refuse("quarantined", quarantined()));
        }
        if let Some(Interruption { reason, is_brief: false }) = self.engine.interruption(now) {
            return Err(self.refuse("no_worker", HsmError::Unavailable(reason)));
        }
        let sessions = self.sessions().saturating_sub(self.sessions_stuck(now));
        if sessions == 0 {
            return Err(self.refuse("all_sessions_hang", HsmError::DeadlineExceeded));
        }
        let class = task.class();
        let arrival = Arrival { flow, now, cost: fitness.cost(class), sessions };
        let (reply, answer) = JobReply::new(fitness.ticket(class, now));
        match self.shared.jobs.push(Job { task, enqueued: now, deadline, reply }, arrival) {
            Ok(()) => {
                self.engine.job_arrived();
                Ok(answer)
            }
            Err(NotQueued::CannotFinish) => Err(self.refuse("cannot_finish", HsmError::Busy)),
            Err(NotQueued::Full) => Err(self.refuse("queue_full", HsmError::Busy)),
            Err(NotQueued::Closed) => Err(stopped()),
        }
    }

    fn refuse(&self, reason: &'static str, error: HsmError) -> HsmError {
        self.shared.metrics.refusal(reason);
        error
    }

    /// What became of asking another HSM because this one took long.
    pub(in crate::key_manager::pkcs11) fn count_hedge(&self, outcome: &'static str) {
        self.shared.metrics.hedge(outcome);
    }

    /// A request went on to another HSM because this one was taken out.
    pub(in crate::key_manager::pkcs11) fn count_eviction(&self) {
        self.shared.metrics.evictions.inc();
    }
}
