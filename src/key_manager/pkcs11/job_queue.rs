//! The jobs that wait for a session of one HSM: bounded, first in, first out.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::key_manager::pkcs11::worker::Job;

pub(super) struct JobQueue {
    length_max: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    Full,
    Closed,
}

impl JobQueue {
    pub(super) fn new(length_max: usize) -> Self {
        Self { length_max, state: Mutex::default(), arrived: Condvar::new() }
    }

    pub(super) fn push(&self, job: Job) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(NotTaken::Closed);
        }
        if state.jobs.len() >= self.length_max {
            return Err(NotTaken::Full);
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for the next job; nothing once the queue is closed.
    pub(super) fn pop(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            match state.jobs.pop_front() {
                Some(job) => return Some(job),
                None => self.arrived.wait(&mut state),
            }
        }
    }

    /// The next job, if one waits.
    pub(super) fn try_pop(&self) -> Option<Job> {
        self.state.lock().jobs.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().jobs.len()
    }

    /// Whoever waits for a job ends; jobs that wait are dropped unanswered.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop(jobs);
        self.arrived.notify_all();
    }
}
