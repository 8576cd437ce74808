//! One request on its way: which HSMs have it, and what happens when one answers, is taken out, or takes long.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::futures::Notified;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tracing::Span;

use crate::key_manager::pkcs11::breaker::Admission;
use crate::key_manager::pkcs11::failover::{Candidate, Failover, Patience, refused};
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::module::HANG_LIMIT;
use crate::key_manager::pkcs11::worker::{Completed, Output};
use crate::key_manager::{Done, HsmError};
use crate::spans;

/// An HSM whose request was hedged after so long, and that answered nothing else meanwhile, is looked at.
const SUSPICIOUS: Duration = Duration::from_millis(50);

pub(super) struct Dispatch<'a> {
    failover: &'a Failover,
    /// The best last.
    untried: Vec<Candidate<'a>>,
    /// The second is the hedge of the first.
    under_way: [Option<Attempt<'a>>; 2],
    /// When to ask another HSM too, if the budget allows it.
    hedge_at: Option<Instant>,
    /// When the HSM that was asked last has had its time.
    patience_until: Option<Instant>,
    /// No answer comes after it.
    deadline: Instant,
    is_idempotent: bool,
    /// Only one HSM could ever be asked.
    is_alone: bool,
    done: Done<Output>,
}

/// The request at one HSM.
struct Attempt<'a> {
    member: &'a Arc<Hsm>,
    asked: Instant,
    answer: oneshot::Receiver<Completed>,
    /// Absent if the request stays there whatever happens.
    taken_out: Option<Pin<Box<Notified<'a>>>>,
    is_hedge: bool,
    span: Span,
}

enum Event {
    Answered(usize, Option<Completed>),
    TakenOut(usize),
    TimeUp,
}

impl<'a> Dispatch<'a> {
    /// The best candidate first.
    pub(super) fn new(failover: &'a Failover, mut candidates: Vec<Candidate<'a>>, deadline: Instant) -> Self {
        let is_idempotent = candidates.first().is_some_and(|candidate| candidate.task.is_idempotent());
        if candidates.len() > 1 && is_idempotent {
            failover.budget.count_request();
        }
        let is_alone = candidates.len() == 1;
        candidates.reverse();
        Self {
            failover,
            untried: candidates,
            under_way: [None, None],
            hedge_at: None,
            patience_until: None,
            deadline,
            is_idempotent,
            is_alone,
            done: refused(HsmError::KeyMissing),
        }
    }

    /// `none` is the answer if no HSM can be asked at all.
    pub(super) async fn run(mut self, none: HsmError) -> Done<Output> {
        if self.untried.is_empty() {
            return refused(none);
        }
        self.start_next(false);
        let mut timer = pin!(tokio::time::sleep_until(self.next_time().into()));
        while self.is_under_way() {
            match poll_fn(|context| self.poll_event(timer.as_mut(), context)).await {
                Event::Answered(place, completed) => {
                    if self.take_answer(place, completed) {
                        break;
                    }
                }
                Event::TakenOut(place) => self.leave(place),
                Event::TimeUp => self.time_is_up(),
            }
            if !self.is_under_way() && self.now() < self.deadline {
                self.start_next(false);
            }
            let next = self.next_time().into();
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
        }
        self.done
    }

    fn now(&self) -> Instant {
        self.failover.clock.instant()
    }

    fn next_time(&self) -> Instant {
        let times = [self.hedge_at, self.patience_until];
        times.into_iter().flatten().fold(self.deadline, Instant::min)
    }

    fn is_under_way(&self) -> bool {
        self.under_way.iter().any(Option::is_some)
    }

    fn poll_event(&mut self, timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Event> {
        for (place, attempt) in self.under_way.iter_mut().enumerate() {
            let Some(attempt) = attempt else { continue };
            if let Poll::Ready(answer) = Pin::new(&mut attempt.answer).poll(context) {
                return Poll::Ready(Event::Answered(place, answer.ok()));
            }
            if let Some(taken_out) = &mut attempt.taken_out
                && taken_out.as_mut().poll(context).is_ready()
            {
                attempt.taken_out = None;
                return Poll::Ready(Event::TakenOut(place));
            }
        }
        timer.poll(context).map(|()| Event::TimeUp)
    }

    /// Gives it to the next HSM that takes it. Nothing happens if there is none.
    fn start_next(&mut self, is_hedge: bool) {
        while let Some(Candidate { member, task, .. }) = self.untried.pop() {
            let asked = self.now();
            let (class, operation) = (task.class(), task.operation().unwrap_or("housekeeping"));
            let may_leave = self.is_idempotent && !self.untried.is_empty();
            // Made before the HSM is looked at, so that it cannot be taken out unnoticed in between.
            let taken_out = may_leave.then(|| Box::pin(member.fitness().taken_out()));
            match member.submit(task, self.failover.flow, (asked, self.deadline)) {
                Ok(answer) => {
                    let span = spans::hsm_job(member.name(), operation, is_hedge);
                    self.add(Attempt { member, asked, answer, taken_out, is_hedge, span });
                    self.set_times(asked, member.fitness().hedge_point(class));
                    return;
                }
                Err(error) => self.remember(member, error),
            }
        }
    }

    /// If two have it already, one that has had its time makes room.
    fn add(&mut self, attempt: Attempt<'a>) {
        let [first, second] = &mut self.under_way;
        if first.is_none() {
            *first = Some(attempt);
        } else if let Some(former) = second.replace(attempt) {
            *first = Some(former);
        }
    }

    fn set_times(&mut self, asked: Instant, point: Duration) {
        let may_hedge = self.is_idempotent
            && !self.untried.is_empty()
            && !self.failover.budget.is_off()
            && self.under_way.iter().flatten().count() == 1;
        self.hedge_at = may_hedge.then(|| asked + point);
        let patience = if self.is_alone { 2 * HANG_LIMIT } else { HANG_LIMIT };
        self.patience_until = match self.failover.patience {
            Patience::HangLimit if self.is_idempotent => Some(asked + patience),
            Patience::Deadline | Patience::HangLimit => None,
        };
    }

    /// True if the request is answered.
    fn take_answer(&mut self, place: usize, completed: Option<Completed>) -> bool {
        let Some(attempt) = self.under_way.get_mut(place).and_then(Option::take) else { return false };
        let Some(Completed { result, queue_wait, hsm_time }) = completed else {
            // It was too late, or the HSM is stopped. Who knows what became of it; it is not begun twice.
            self.remember(attempt.member, HsmError::DeadlineExceeded);
            return !self.is_idempotent;
        };
        spans::hsm_answered(&attempt.span, queue_wait, hsm_time);
        if let Err(error) = &result {
            spans::failed(&attempt.span, error.name());
        }
        self.done.queue_wait += queue_wait;
        self.done.hsm_time += hsm_time;
        match result {
            Err(error) if is_fault_of_member(&error) => {
                if attempt.is_hedge {
                    attempt.member.count_hedge("failed");
                }
                // What makes a key under a given id must not make another one elsewhere.
                let is_over = !self.is_idempotent && may_have_begun(&error);
                self.remember(attempt.member, error);
                is_over
            }
            answer => {
                self.done.hsm = Some(Arc::clone(attempt.member.name()));
                self.done.result = answer;
                self.settle(&attempt);
                true
            }
        }
    }

    /// Counts what became of a hedge, whose other half is dropped: its answer is wiped, its job is skipped if it has
    /// not begun.
    fn settle(&self, winner: &Attempt<'_>) {
        let Some(loser) = self.under_way.iter().flatten().next() else { return };
        if winner.is_hedge {
            loser.member.count_hedge("won");
            loser.suspect(self.now());
        } else {
            winner.member.count_hedge("lost");
        }
    }

    /// The HSM was taken out: another one gets the request, unless none is better.
    fn leave(&mut self, place: usize) {
        if !self.is_next_well() {
            return;
        }
        if let Some(attempt) = self.under_way.get_mut(place).and_then(Option::take) {
            attempt.member.count_eviction();
            self.remember(attempt.member, HsmError::Unavailable("the HSM was taken out".to_owned()));
        }
    }

    /// Whether there is another HSM that serves everybody, now.
    fn is_next_well(&self) -> bool {
        self.untried.last().is_some_and(|next| {
            let (admission, _) = next.member.standing(next.task.class(), self.now());
            admission <= Admission::Behind
        })
    }

    fn time_is_up(&mut self) {
        let now = self.now();
        let is_over = |time: Option<Instant>| time.is_some_and(|time| now >= time);
        if now >= self.deadline || (is_over(self.patience_until) && self.untried.is_empty()) {
            self.give_up(now);
        } else if is_over(self.patience_until) {
            self.start_next(true);
        } else if is_over(self.hedge_at) {
            self.hedge(now);
        }
    }

    fn hedge(&mut self, now: Instant) {
        self.hedge_at = None;
        if self.is_next_well() && self.failover.budget.take() {
            self.start_next(true);
        } else if let Some(slow) = self.under_way.iter().flatten().next() {
            slow.member.count_hedge("refused");
            slow.suspect(now);
            // It may be too early to say that of it.
            let again = slow.asked + SUSPICIOUS;
            self.hedge_at = (now < again).then_some(again);
        }
    }

    fn give_up(&mut self, now: Instant) {
        for attempt in std::mem::take(&mut self.under_way).into_iter().flatten() {
            attempt.member.fitness().gave_up(attempt.asked, now);
            self.remember(attempt.member, HsmError::DeadlineExceeded);
        }
        self.untried.clear();
    }

    /// Of several errors the one that says most of what can be done about it.
    fn remember(&mut self, member: &Hsm, error: HsmError) {
        let is_worse = self.done.result.as_ref().is_err_and(|known| weight(&error) >= weight(known));
        if is_worse {
            self.done.result = Err(error);
            self.done.hsm = Some(Arc::clone(member.name()));
        }
    }
}

impl Attempt<'_> {
    /// An HSM that has answered nothing for a while is looked at.
    fn suspect(&self, now: Instant) {
        let waited = now.saturating_duration_since(self.asked);
        if waited >= SUSPICIOUS && self.member.fitness().is_silent_since(self.asked) {
            self.member.suspect();
        }
    }
}

/// Whether another HSM may know better.
fn is_fault_of_member(error: &HsmError) -> bool {
    match error {
        HsmError::Busy
        | HsmError::Corrupted(_)
        | HsmError::DeadlineExceeded
        | HsmError::Device(_)
        | HsmError::KeyMissing
        | HsmError::Unavailable(_)
        | HsmError::Unsupported(_) => true,
        HsmError::BadCiphertext | HsmError::BadKeyMaterial | HsmError::TooLong | HsmError::UsageRefused => {
            false
        }
    }
}

/// Whether something may be left in the HSM of a request that it failed.
fn may_have_begun(error: &HsmError) -> bool {
    match error {
        HsmError::Corrupted(_) | HsmError::DeadlineExceeded | HsmError::Device(_) => true,
        HsmError::BadCiphertext
        | HsmError::BadKeyMaterial
        | HsmError::Busy
        | HsmError::KeyMissing
        | HsmError::TooLong
        | HsmError::Unavailable(_)
        | HsmError::Unsupported(_)
        | HsmError::UsageRefused => false,
    }
}

/// What passes before what does not: trouble with an HSM must not look like a missing key.
fn weight(error: &HsmError) -> u8 {
    match error {
        HsmError::DeadlineExceeded => 5,
        HsmError::Busy => 4,
        HsmError::Corrupted(_) | HsmError::Device(_) => 3,
        HsmError::Unavailable(_) => 2,
        HsmError::Unsupported(_) => 1,
        HsmError::BadCiphertext
        | HsmError::BadKeyMaterial
        | HsmError::KeyMissing
        | HsmError::TooLong
        | HsmError::UsageRefused => 0,
    }
}

#[cfg(test)]
mod tests;
