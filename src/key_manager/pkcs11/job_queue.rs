//! The jobs that wait for a session of one HSM: bounded, in turn of those who ask, first in first out for each.
//!
//! Under overload the newest are refused rather than the oldest dropped (as CoDel does) or left behind (LIFO): all of
//! one asker have the same time, so who is let in is let in only if it can be done in time, and no waiting is wasted.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;
use parking_lot::{Condvar, Mutex};

use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::worker::{Completed, Job};

/// Of the time that is left, what a job may be expected to need: the rest is for what was not foreseen.
const TIME_SHARE_PERCENT: u32 = 75;
/// Askers that have nothing waiting are forgotten when there are more.
const LINES_KEPT: usize = 16;

/// Who asks: a key store, a cluster, the KMS API. One that asks too much is in nobody's way but its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow(u64);

impl Flow {
    pub(super) fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

pub(super) struct JobQueue {
    length_max: usize,
    state: Mutex<State>,
    /// As it was when the state was locked last; not zero once the queue is closed.
    length: AtomicUsize,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// Whose turn it is.
    turn: usize,
    length: usize,
    is_closed: bool,
}

/// What one asker has waiting, each with what it is expected to take.
struct Line {
    flow: Flow,
    jobs: VecDeque<(Job, Duration)>,
    work: Duration,
}

/// What there is to know of a job that wants to wait.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) flow: Flow,
    pub(super) now: Instant,
    /// What it is expected to take.
    pub(super) cost: Duration,
    /// Those that do not hang.
    pub(super) sessions: usize,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    Full,
    Closed,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// What is before it takes too long.
    CannotFinish,
    Closed,
    Full,
}

impl JobQueue {
    pub(super) fn new(length_max: usize) -> Self {
        Self { length_max, state: Mutex::default(), length: AtomicUsize::new(0), arrived: Condvar::new() }
    }

    pub(super) fn push(&self, job: Job, arrival: Arrival) -> Result<(), NotQueued> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(NotQueued::Closed);
        }
        let place = state.place_of(arrival.flow);
        if !state.can_finish(place, job.deadline, arrival) {
            return Err(NotQueued::CannotFinish);
        }
        let displaced = if state.length >= self.length_max {
            Some(state.displace(place).ok_or(NotQueued::Full)?)
        } else {
            None
        };
        state.push(place, job, arrival.cost);
        self.length.store(state.length, Ordering::Relaxed);
        drop(state);
        self.arrived.notify_one();
        if let Some(displaced) = displaced {
            let (queue_wait, hsm_time) = (Duration::ZERO, Duration::ZERO);
            displaced.reply.send(Completed { result: Err(HsmError::Busy), queue_wait, hsm_time });
        }
        Ok(())
    }

    /// Waits for the next job; nothing once the queue is closed.
    pub(super) fn pop(&self) -> Option<Job> {
        self.await_change();
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(job) = state.pop() {
                self.length.store(state.length, Ordering::Relaxed);
                return Some(job);
            }
            self.arrived.wait(&mut state);
        }
    }

    /// Looks for work a few times, and lets others have the processor in between, before it goes to sleep: under load
    /// the next job is there sooner than a thread is woken.
    fn await_change(&self) {
        let backoff = Backoff::new();
        while self.length.load(Ordering::Relaxed) == 0 && !backoff.is_completed() {
            backoff.snooze();
        }
    }

    /// The next job, if one waits.
    pub(super) fn try_pop(&self) -> Option<Job> {
        let mut state = self.state.lock();
        let job = state.pop();
        if !state.is_closed {
            self.length.store(state.length, Ordering::Relaxed);
        }
        job
    }

    pub(super) fn len(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Whoever waits for a job ends; jobs that wait are dropped unanswered.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.length = 0;
        self.length.store(1, Ordering::Relaxed);
        let lines = std::mem::take(&mut state.lines);
        drop(state);
        drop(lines);
        self.arrived.notify_all();
    }
}

impl State {
    /// Of the line of this asker.
    fn place_of(&mut self, flow: Flow) -> usize {
        if let Some(place) = self.lines.iter().position(|line| line.flow == flow) {
            return place;
        }
        if self.lines.len() >= LINES_KEPT {
            self.lines.retain(|line| !line.jobs.is_empty());
        }
        self.lines.push(Line { flow, jobs: VecDeque::new(), work: Duration::ZERO });
        self.lines.len() - 1
    }

    fn waiting_at(&self, place: usize) -> usize {
        self.lines.get(place).map_or(0, |line| line.jobs.len())
    }

    /// Whether a job that goes into this line can be expected to be done in time. Nothing but what waits before it keeps
    /// it from being tried: else what was learned of a slow HSM could never be unlearned.
    fn can_finish(&self, place: usize, deadline: Instant, arrival: Arrival) -> bool {
        // Every line has as many turns until then as this one.
        let turns = self.waiting_at(place) + 1;
        let ahead: Duration = self.lines.iter().map(|line| line.work_of_first(turns)).sum();
        if ahead.is_zero() {
            return true;
        }
        let sessions = u32::try_from(arrival.sessions.max(1)).unwrap_or(u32::MAX);
        let left = deadline.saturating_duration_since(arrival.now);
        ahead / sessions + arrival.cost <= left * TIME_SHARE_PERCENT / 100
    }

    /// Makes room for an asker that has less waiting than another: the newest of the longest line has to go.
    fn displace(&mut self, place: usize) -> Option<Job> {
        let mine = self.waiting_at(place);
        let longest = self.lines.iter_mut().max_by_key(|line| line.jobs.len())?;
        if longest.jobs.len() <= mine + 1 {
            return None;
        }
        let (job, cost) = longest.jobs.pop_back()?;
        longest.work = longest.work.saturating_sub(cost);
        self.length -= 1;
        Some(job)
    }

    fn push(&mut self, place: usize, job: Job, cost: Duration) {
        if let Some(line) = self.lines.get_mut(place) {
            line.work = line.work.saturating_add(cost);
            line.jobs.push_back((job, cost));
            self.length += 1;
        }
    }

    fn pop(&mut self) -> Option<Job> {
        if self.length == 0 {
            return None;
        }
        let is_waiting = |place: &usize| self.waiting_at(*place) > 0;
        let mut turns = (self.turn..self.lines.len()).chain(0..self.turn);
        let place = turns.find(is_waiting)?;
        self.turn = place + 1;
        let line = self.lines.get_mut(place)?;
        let (job, cost) = line.jobs.pop_front()?;
        line.work = line.work.saturating_sub(cost);
        self.length -= 1;
        Some(job)
    }
}

impl Line {
    /// What its first jobs take, if one takes as long as the other.
    fn work_of_first(&self, jobs: usize) -> Duration {
        let jobs = jobs.min(self.jobs.len());
        let [jobs, all] = [jobs, self.jobs.len()].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        if jobs == all { self.work } else { self.work / all.max(1) * jobs }
    }
}

#[cfg(test)]
mod tests;
