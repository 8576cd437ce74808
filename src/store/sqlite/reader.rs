//! A thread that reads: each job sees one state of the database, with everything that was acknowledged before.

use crossbeam_channel::Receiver;
use rusqlite::Connection;

use crate::store::sqlite::connection::Session;
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::job::{Ended, Job};

const BEGIN: &str = "BEGIN DEFERRED";
const END: &str = "COMMIT";

/// Answers until the queue is dropped.
pub(super) fn run(mut session: Session, jobs: Receiver<Box<dyn Job>>) {
    for mut job in jobs {
        if job.is_abandoned() {
            continue;
        }
        let result = session
            .connection()
            .and_then(|connection| read(connection, job.as_mut()))
            .map_err(|error| Fault::Sql(error).into_error());
        if !matches!(result, Ok(Ended::Done | Ended::Undone)) {
            session.give_up();
        }
        job.answer(result.map(|_| ()));
    }
}

fn read(connection: &Connection, job: &mut dyn Job) -> rusqlite::Result<Ended> {
    connection.prepare_cached(BEGIN)?.execute([])?;
    let ended = job.run(connection);
    if !connection.is_autocommit() {
        connection.prepare_cached(END)?.execute([])?;
    }
    Ok(ended)
}
