//! Turns of those who ask, what is let in, and what has to go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::class::Class;
use crate::key_manager::pkcs11::engine::Shared;
use crate::key_manager::pkcs11::job_queue::{Arrival, Flow, NotQueued};
use crate::key_manager::pkcs11::reply::JobReply;
use crate::key_manager::pkcs11::scripted::{self, TokioClock};
use crate::key_manager::pkcs11::worker::{Completed, Job, Task};
use crate::metrics::Metrics;

const MS: Duration = Duration::from_millis(1);

struct Queue {
    shared: Arc<Shared>,
    now: Instant,
}

type Answer = oneshot::Receiver<Completed>;

impl Queue {
    fn of(length_max: usize) -> Self {
        let shared = scripted::shared("hsm", length_max, &Metrics::new().unwrap());
        Self { shared, now: TokioClock.instant() }
    }

    /// A job of 10 ms, told apart by how many bytes it wants.
    fn push(&self, flow: &str, bytes: usize, within: Duration) -> Result<Answer, NotQueued> {
        let (reply, answer) = JobReply::new(self.shared.fitness.ticket(Class::Random, self.now));
        let task = Task::Backing(BackingTask::Random(bytes));
        let job = Job { task, enqueued: self.now, deadline: self.now + within, reply };
        let arrival = Arrival { flow: Flow::of(flow), now: self.now, cost: 10 * MS, sessions: 2 };
        self.shared.jobs.push(job, arrival).map(|()| answer)
    }

    fn pop(&self) -> usize {
        let Task::Backing(BackingTask::Random(bytes)) = self.shared.jobs.pop().unwrap().task else {
            panic!("another task");
        };
        bytes
    }
}

#[test]
fn askers_take_turns_and_each_is_served_in_its_order() {
    let queue = Queue::of(100);
    let flows = ["flood"; 20].into_iter().chain(["calm", "calm", "kms"]);
    let _answers: Vec<_> = flows
        .enumerate()
        .map(|(place, flow)| queue.push(flow, place, Duration::from_secs(9)).unwrap())
        .collect();
    let order: Vec<_> = (0..8).map(|_| queue.pop()).collect();
    assert_eq!(order, [0, 20, 22, 1, 21, 2, 3, 4]);
    assert_eq!(queue.shared.jobs.len(), 15);
}

#[test]
fn what_cannot_be_done_in_time_is_refused_for_what_waits_in_its_own_line() {
    let queue = Queue::of(100);
    let within = 200 * MS;
    let mut answers = Vec::new();
    let refused = loop {
        match queue.push("flood", 1, within) {
            Ok(answer) => answers.push(answer),
            Err(refused) => break refused,
        }
    };
    // Two sessions do 28 jobs of 10 ms in 140 ms, and one more is done after 150 ms: three quarters of the time.
    assert_eq!((refused, answers.len()), (NotQueued::CannotFinish, 29));
    // Another asker is let in: it has its turn after one of the flood.
    answers.push(queue.push("calm", 2, 40 * MS).unwrap());
    assert_eq!(queue.push("calm", 2, 20 * MS).err(), Some(NotQueued::CannotFinish));
    // Who is patient as well.
    answers.push(queue.push("flood", 1, Duration::from_secs(1)).unwrap());
}

/// Else what was learned of an HSM while it was slow would keep every request from it.
#[test]
fn whom_nobody_is_before_is_let_in_whatever_it_takes() {
    let queue = Queue::of(100);
    let answer = queue.push("flow", 1, MS);
    assert!(answer.is_ok());
    assert_eq!(queue.push("flow", 1, MS).err(), Some(NotQueued::CannotFinish));
    queue.pop();
    assert!(queue.push("flow", 1, MS).is_ok());
}

#[tokio::test]
async fn a_full_queue_makes_room_for_who_has_less_in_it() {
    let queue = Queue::of(4);
    let long = Duration::from_secs(9);
    let mut flood: Vec<_> = (0..4).map(|place| queue.push("flood", place, long).unwrap()).collect();
    assert_eq!(queue.push("flood", 9, long).err(), Some(NotQueued::Full));
    let _calm = [queue.push("calm", 10, long).unwrap(), queue.push("calm", 11, long).unwrap()];
    assert_eq!(queue.push("calm", 12, long).err(), Some(NotQueued::Full));
    for displaced in flood.split_off(2) {
        assert!(matches!(displaced.await.unwrap().result, Err(HsmError::Busy)));
    }
    assert_eq!((0..4).map(|_| queue.pop()).collect::<Vec<_>>(), [0, 10, 1, 11]);
    assert!(flood.iter_mut().all(|answer| answer.try_recv().is_err()));
}

#[test]
fn jobs_in_hand_count_until_they_are_dropped() {
    let queue = Queue::of(4);
    let answer = queue.push("flow", 1, MS);
    assert_eq!(queue.shared.fitness.jobs(), 1);
    drop(answer);
    assert_eq!(queue.shared.fitness.jobs(), 1, "whether anybody waits for them or not");
    drop(queue.shared.jobs.pop());
    assert_eq!(queue.shared.fitness.jobs(), 0);
    let _answer = queue.push("flow", 1, MS);
    queue.shared.jobs.close();
    assert_eq!(queue.shared.fitness.jobs(), 0);
    assert_eq!(queue.push("flow", 1, MS).err(), Some(NotQueued::Closed));
}
