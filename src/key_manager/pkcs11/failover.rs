//! Which of several HSMs a request goes to, and in which order others follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::key_manager::pkcs11::breaker::Admission;
use crate::key_manager::pkcs11::dispatch::Dispatch;
use crate::key_manager::pkcs11::hedging::HedgeBudget;
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::job_queue::Flow;
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::{Done, HsmError};

/// HSMs of which one takes less than this part of what the other takes are equal, and take turns. Below two, so that
/// an HSM with one job in hand is no equal of one with none.
const TIE_PERCENT: u32 = 190;
/// One request in so many goes to whoever's turn it is, however slow it was: else nobody would learn that it is not
/// any more.
const LOOK_AROUND: usize = 16;
/// But not to one that seems to hang.
const LOOK_AROUND_TIE: Duration = Duration::from_millis(20);

/// An HSM that can do the task.
pub(super) struct Candidate<'a> {
    pub(super) member: &'a Arc<Hsm>,
    pub(super) task: Task,
    /// Whether it goes behind all that are not.
    is_behind: bool,
    /// As it was when the request came.
    pub(super) admission: Admission,
    load: Duration,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(member: &'a Arc<Hsm>, task: Task) -> Self {
        Self { member, task, is_behind: false, admission: Admission::Freely, load: Duration::ZERO }
    }

    /// Asked after all others if there is something wrong with it.
    pub(super) fn behind(self, is_behind: bool) -> Self {
        Self { is_behind, ..self }
    }
}

/// How long each HSM may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// All the time there is, which is not much: AWS KMS gives up after 250 ms.
    Deadline,
    /// As long as a call takes that does not hang, or twice that if no other HSM can be asked.
    HangLimit,
}

/// What the requests of one asker have in common.
pub(super) struct Failover {
    pub(super) flow: Flow,
    pub(super) patience: Patience,
    pub(super) budget: HedgeBudget,
    pub(super) clock: Arc<dyn Clock>,
    turn: AtomicUsize,
}

impl Failover {
    /// `name` is that of the asker, for fairness between them.
    pub(super) fn new(name: &str, share_max_percent: u8, clock: Arc<dyn Clock>) -> Self {
        let (flow, budget) = (Flow::of(name), HedgeBudget::new(share_max_percent));
        Self { flow, patience: Patience::Deadline, budget, clock, turn: AtomicUsize::new(0) }
    }

    pub(super) fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Does the task in one of them; a fault of one member, not of the request, moves on to the next, and so does
    /// slowness. `none` is the answer if there is no candidate.
    pub(super) async fn run(
        &self,
        mut candidates: Vec<Candidate<'_>>,
        none: HsmError,
        deadline: Instant,
    ) -> Done<Output> {
        self.sort(&mut candidates);
        Dispatch::new(self, candidates, deadline).run(none).await
    }

    /// The healthiest and least loaded first.
    pub(super) fn sort(&self, candidates: &mut [Candidate<'_>]) {
        if candidates.len() < 2 {
            return;
        }
        let now = self.clock.instant();
        for candidate in candidates.iter_mut() {
            (candidate.admission, candidate.load) = candidate.member.standing(candidate.task.class(), now);
        }
        let best = candidates.iter().map(|candidate| (candidate.admission, candidate.load)).min();
        let tie = best.map_or(Duration::ZERO, |(_, load)| load * TIE_PERCENT / 100);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let tie = if turn.is_multiple_of(LOOK_AROUND) { LOOK_AROUND_TIE } else { tie };
        candidates.rotate_left((turn / LOOK_AROUND + turn) % candidates.len());
        // A stable order, so that who is as good as the best has its turn.
        candidates.sort_by_key(|candidate| {
            (candidate.is_behind, candidate.admission, candidate.load.saturating_sub(tie))
        });
    }
}

/// An answer that no HSM was asked for.
pub(super) fn refused<T>(error: HsmError) -> Done<T> {
    Done { result: Err(error), hsm: None, queue_wait: Duration::ZERO, hsm_time: Duration::ZERO }
}

impl<T> Done<T> {
    pub(super) fn and_then<U>(self, convert: impl FnOnce(T) -> Result<U, HsmError>) -> Done<U> {
        Done {
            result: self.result.and_then(convert),
            hsm: self.hsm,
            queue_wait: self.queue_wait,
            hsm_time: self.hsm_time,
        }
    }
}

pub(super) fn mixed_up() -> HsmError {
    HsmError::Device("a worker answered another question than was asked".to_owned())
}
