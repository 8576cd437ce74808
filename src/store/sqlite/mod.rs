//! The store of one daemon: a SQLite database, written by one thread and read by a few.

mod aliases;
mod backup;
mod connection;
mod custom_key_store_row;
mod custom_key_stores;
mod due;
mod examination;
mod fault;
mod files;
mod grant_row;
mod grants;
mod identities;
mod job;
mod key_row;
mod keys;
mod lifecycle_events;
mod materials;
mod numbers;
mod open_error;
mod reader;
mod related_keys;
mod root_keys;
mod schema;
mod scopes;
mod statements;
mod upgrade;
mod usage;
mod verbs;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::metrics::StoreMetrics;
use crate::store::sqlite::connection::{Access, Session};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::job::Workers;
use crate::store::sqlite::schema::MIGRATIONS;
use crate::store::{StoreError, Stored};

pub use backup::{BackupError, BackupFacts, copy_unused, inspect, read_setting, restore};
pub use examination::{CustomKeyStoreFacts, DatabaseFacts, examine};
pub use open_error::OpenError;
pub use schema::{SchemaError, Version};

const READERS: usize = 2;
/// What waits for the readers at most, and for the writer: some tens of milliseconds of work.
const READ_QUEUE_LENGTH: usize = 1024;
const WRITE_QUEUE_LENGTH: usize = 1024;

/// A database file in a folder. Dropping it waits for the threads, which finish what they have been given.
pub struct SqliteStore {
    // Dropped in this order: the connection that writes is the last, and empties the log.
    backup: BackupThread,
    metrics: Option<StoreMetrics>,
    readers: Workers,
    writer: Workers,
    _lock: File,
}

impl SqliteStore {
    /// Opens the database of a folder, makes it if there is none, and brings its schema up to date.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let folder_fault = |error| OpenError::Io(folder.to_owned(), error);
        let lock = files::lock(folder).map_err(folder_fault)?;
        let lock = lock.ok_or_else(|| OpenError::InUse(folder.to_owned()))?;
        let database = files::database(folder).map_err(folder_fault)?;
        let io = |error| OpenError::Io(database.clone(), error);
        let schema = |error| OpenError::Schema(database.clone(), error);
        let sql = |error: rusqlite::Error| schema(error.into());
        backup::remove_unfinished(folder).map_err(folder_fault)?;
        files::make_private(&database).map_err(io)?;
        prepare(&database)?;
        files::sync_folder(folder).map_err(folder_fault)?;
        let session = Session::open(&database, Access::Write).map_err(sql)?;
        let writer =
            Workers::start("store-writer", WRITE_QUEUE_LENGTH, vec![|jobs| writer::run(session, jobs)]);
        let read = |_| {
            let session = Session::open(&database, Access::Read).map_err(sql)?;
            Ok(move |jobs| reader::run(session, jobs))
        };
        let readers = (0..READERS).map(read).collect::<Result<Vec<_>, OpenError>>()?;
        Ok(Self {
            readers: Workers::start("store-reader", READ_QUEUE_LENGTH, readers).map_err(io)?,
            writer: writer.map_err(io)?,
            backup: BackupThread::new(database),
            metrics: None,
            _lock: lock,
        })
    }

    /// The same, and what it is asked is counted.
    pub fn measured(self, metrics: StoreMetrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Work that changes nothing.
    fn read<T, F>(&self, operation: &'static str, work: F) -> Stored<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Box::pin(self.observe((operation, "read"), self.readers.run(work)))
    }

    /// Work that is durable when it is answered.
    fn write<T, F>(&self, operation: &'static str, work: F) -> Stored<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Box::pin(self.observe((operation, "write"), self.writer.run(work)))
    }

    async fn observe<T>(
        &self,
        (operation, access): (&'static str, &'static str),
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(metrics) = &self.metrics else { return answer.await };
        let _timer = metrics.time(operation, access);
        let result = answer.await;
        metrics.count(operation, outcome(&result));
        result
    }
}

/// For metrics: a refusal is no fault of the database.
const fn outcome<T>(result: &Result<T, StoreError>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(StoreError::Unavailable(_)) => "failed",
        Err(
            StoreError::AlreadyExists
            | StoreError::Conflict
            | StoreError::KeyStoreConflict(_)
            | StoreError::KeyStoreMissing
            | StoreError::KeyStoreNotConnected
            | StoreError::LimitExceeded
            | StoreError::Missing
            | StoreError::NotEmpty
            | StoreError::XksKeyInUse,
        ) => "refused",
    }
}

/// Nothing is changed in a file that is not ours.
fn prepare(database: &Path) -> Result<(), OpenError> {
    let schema = |error| OpenError::Schema(database.to_owned(), error);
    let sql = |error: rusqlite::Error| schema(error.into());
    let mut connection = connection::open(database, Access::Write).map_err(sql)?;
    let found = schema::version(&connection, MIGRATIONS.len()).map_err(schema)?;
    connection::prepare_to_write(&connection).map_err(sql)?;
    let is_older = usize::try_from(found).is_ok_and(|found| (1..MIGRATIONS.len()).contains(&found));
    if is_older {
        let copy = upgrade::keep_copy(database, found)?;
        let (schema, copy) = (MIGRATIONS.len(), copy.display());
        tracing::info!(from = found, to = schema, %copy, "the database comes to schema {schema}; as it was: {copy}");
    }
    schema::migrate(&mut connection, MIGRATIONS).map_err(schema)?;
    if is_older {
        upgrade::remove_oldest(database).map_err(|error| OpenError::Io(database.to_owned(), error))?;
    }
    schema::sign(&connection).map_err(schema)
}

/// The thread of a backup that is being made, one at a time.
struct BackupThread {
    database: PathBuf,
    is_running: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl BackupThread {
    fn new(database: PathBuf) -> Self {
        Self { database, is_running: Arc::default(), stop: Arc::default(), thread: Mutex::default() }
    }

    async fn copy_to(&self, to: PathBuf) -> Result<(), StoreError> {
        let answer = self.start(to)?;
        let gone = || Err(StoreError::Unavailable("the backup was given up".to_owned()));
        answer.await.unwrap_or_else(|_| gone())
    }

    fn start(&self, to: PathBuf) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let mut thread = self.thread.lock();
        if self.is_running.swap(true, Ordering::AcqRel) {
            return Err(StoreError::Unavailable("another backup is being made".to_owned()));
        }
        let (reply, answer) = oneshot::channel();
        let (database, stop) = (self.database.clone(), Arc::clone(&self.stop));
        let is_running = Arc::clone(&self.is_running);
        let copy = move || {
            let result = backup::copy(&database, &to, &stop);
            // Who gets the answer may ask for the next one at once.
            is_running.store(false, Ordering::Release);
            let _ = reply.send(result.map_err(|error| StoreError::Unavailable(error.to_string())));
        };
        let started: io::Result<_> = std::thread::Builder::new().name("store-backup".to_owned()).spawn(copy);
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => {
                self.is_running.store(false, Ordering::Release);
                return Err(StoreError::Unavailable(format!("cannot start a thread: {error}")));
            }
        }
        Ok(answer)
    }
}

impl Drop for BackupThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.get_mut().take() {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}
