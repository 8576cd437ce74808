//! A request goes to one HSM after another until one has answered it.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::module::HANG_LIMIT;
use crate::key_manager::pkcs11::worker::{Output, Task};
use crate::key_manager::{Done, HsmError};

/// An HSM that can do the task.
pub(super) type Candidate<'a> = (&'a Arc<Hsm>, Task);

/// How long each HSM may take.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// All the time there is, which is not much: AWS KMS gives up after 250 ms.
    Deadline,
    /// As long as a call takes that does not hang, or twice that if no other HSM can be asked.
    HangLimit,
}

/// The healthiest and least loaded first.
pub(super) fn sort(candidates: &mut [Candidate<'_>]) {
    if candidates.len() > 1 {
        candidates.sort_by_cached_key(|(member, _)| rank(member));
    }
}

pub(super) fn rank(member: &Hsm) -> impl Ord + use<> {
    (Reverse(member.health().state), member.queue_length())
}

/// An answer that no HSM was asked for.
pub(super) fn refused<T>(error: HsmError) -> Done<T> {
    Done { result: Err(error), hsm: None, queue_wait: Duration::ZERO, hsm_time: Duration::ZERO }
}

/// Tries the candidates in turn for as long as the deadline allows; a fault of one member, not of the
/// request, moves on to the next. `none` is the answer if there is no candidate.
pub(super) async fn run(
    candidates: Vec<Candidate<'_>>,
    none: HsmError,
    clock: &dyn Clock,
    deadline: Instant,
) -> Done<Output> {
    run_with(Patience::Deadline, candidates, none, clock, deadline).await
}

/// The same; when the patience with a member is at its end, it is the turn of the next one.
pub(super) async fn run_with(
    patience: Patience,
    candidates: Vec<Candidate<'_>>,
    none: HsmError,
    clock: &dyn Clock,
    deadline: Instant,
) -> Done<Output> {
    let limit = match patience {
        Patience::Deadline => None,
        Patience::HangLimit if candidates.len() > 1 => Some(HANG_LIMIT),
        Patience::HangLimit => Some(2 * HANG_LIMIT),
    };
    let mut done = refused(none);
    for (member, task) in candidates {
        let by = limit.map_or(deadline, |limit| deadline.min(clock.instant() + limit));
        let outcome = member.run(task, by).await;
        let (Ok((_, queue_wait, hsm_time)) | Err((_, queue_wait, hsm_time))) = &outcome;
        done.queue_wait += *queue_wait;
        done.hsm_time += *hsm_time;
        done.hsm = Some(Arc::clone(member.name()));
        done.result = outcome.map(|(output, ..)| output).map_err(|(error, ..)| error);
        match &done.result {
            Err(
                HsmError::Busy
                | HsmError::Device(_)
                | HsmError::KeyMissing
                | HsmError::Unavailable(_)
                | HsmError::Unsupported(_),
            ) if clock.instant() < deadline => {}
            Err(HsmError::DeadlineExceeded) if limit.is_some() && clock.instant() < deadline => {}
            _ => break,
        }
    }
    done
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
