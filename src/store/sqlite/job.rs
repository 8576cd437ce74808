//! Jobs: work for the threads that own the connections, and the way back to who asked.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::StoreError;
use crate::store::sqlite::fault::Fault;

/// How a job ended, as far as its transaction is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    /// Nothing of it is to stay.
    Undone,
    /// As above, and the connection is not to be trusted.
    Broken,
}

pub(super) trait Job: Send {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;

    fn run(&mut self, connection: &Connection) -> Ended;

    /// Answers; if the transaction failed, with that, whatever the job itself achieved.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
}

struct Errand<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Errand<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> Ended {
        let Some(work) = self.work.take() else { return Ended::Undone };
        let (result, ended) = match work(connection) {
            Ok(value) => (Ok(value), Ended::Done),
            Err(fault) if fault.is_of_connection() => (Err(fault.into_error()), Ended::Broken),
            Err(fault) => (Err(fault.into_error()), Ended::Undone),
        };
        self.result = Some(result);
        ended
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        let result = match (transaction, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(gone()),
            (Err(_), Some(Err(own @ StoreError::Unavailable(_)))) => Err(own),
            (Err(error), _) => Err(error),
        };
        // Who asked may have gone away.
        let _ = self.reply.send(result);
    }
}

/// Threads that take jobs from one bounded queue, and end when it is dropped.
pub(super) struct Workers {
    jobs: Option<Sender<Box<dyn Job>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts a thread for each of `workers`, with the queue that they share.
    pub(super) fn start<W>(name: &str, queue_length: usize, workers: Vec<W>) -> io::Result<Self>
    where
        W: FnOnce(Receiver<Box<dyn Job>>) + Send + 'static,
    {
        let (jobs, queue) = bounded(queue_length);
        let start = |worker: W| {
            let queue = queue.clone();
            std::thread::Builder::new().name(name.to_owned()).spawn(move || worker(queue))
        };
        let threads = workers.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Has a thread do it, and waits for the answer.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Errand { work: Some(work), result: None, reply });
        match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => answer.await.unwrap_or_else(|_| Err(gone())),
            Some(Err(TrySendError::Full(_))) => {
                Err(StoreError::Unavailable("too much waits for the database".to_owned()))
            }
            Some(Err(TrySendError::Disconnected(_))) | None => Err(gone()),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the thread of the database has ended".to_owned())
}
