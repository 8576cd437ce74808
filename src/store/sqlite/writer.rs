//! The thread that writes: jobs that wait together share one transaction, and so one `fsync`.

use crossbeam_channel::Receiver;
use rusqlite::{Connection, ffi};

use crate::store::sqlite::connection::{Session, failure};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::job::{Ended, Job};

/// Bounds how long the first of a group waits for the last.
const GROUP_MAX: usize = 128;

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const SAVEPOINT: &str = "SAVEPOINT job";
const RELEASE: &str = "RELEASE job";
const ROLLBACK_TO: &str = "ROLLBACK TO job";

/// Writes until the queue is dropped; then what is in the write-ahead log goes into the database.
pub(super) fn run(mut session: Session, jobs: Receiver<Box<dyn Job>>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(GROUP_MAX - 1));
        write(&mut session, group);
    }
    if let Ok(connection) = session.connection() {
        // Not needed for durability: the log is read at the next start otherwise.
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// Nobody is answered before everything is durable, not even with a refusal: it may rest on what another job of
/// the group did.
fn write(session: &mut Session, mut group: Vec<Box<dyn Job>>) {
    let result = session.connection().and_then(|connection| {
        let ended = transaction(connection, &mut group);
        if ended.is_err() && !connection.is_autocommit() {
            connection.execute_batch(ROLLBACK)?;
        }
        ended
    });
    let committed = match result {
        Ok(Ended::Done | Ended::Undone) => Ok(()),
        Ok(Ended::Broken) => {
            session.give_up();
            Ok(())
        }
        Err(error) => {
            let fault = Fault::Sql(error);
            if fault.is_of_connection() {
                session.give_up();
            }
            Err(fault.into_error())
        }
    };
    for job in group {
        job.answer(committed.clone());
    }
}

/// Each job in a savepoint of its own, so that one that fails takes no other with it.
fn transaction(connection: &Connection, group: &mut [Box<dyn Job>]) -> rusqlite::Result<Ended> {
    let execute = |sql| connection.prepare_cached(sql)?.execute([]).map(drop);
    execute(BEGIN)?;
    let mut worst = Ended::Done;
    for job in group {
        execute(SAVEPOINT)?;
        let ended = job.run(connection);
        if connection.is_autocommit() {
            // As SQLite does after some errors of the disk.
            let reason = "the transaction was given up for another one's sake".to_owned();
            return Err(failure(ffi::SQLITE_ABORT_ROLLBACK, reason));
        }
        if ended != Ended::Done {
            execute(ROLLBACK_TO)?;
        }
        execute(RELEASE)?;
        if ended == Ended::Broken {
            worst = Ended::Broken;
        }
    }
    execute(COMMIT)?;
    Ok(worst)
}
