//! Connections to the database file, as strict as SQLite can be told to be, and opened anew after a fault.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

/// Somebody else's lock: none of ours takes this long, since one thread writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const CACHED_STATEMENTS_MAX: usize = 64;
const CACHE_KIB: i64 = 16 * 1024;
/// What the write-ahead log shrinks to after a backup kept it from being emptied.
const WAL_BYTES_KEPT: i64 = 16 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Opens a file that exists; changes nothing in it.
pub(super) fn open(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

/// What a connection that writes keeps to.
pub(super) fn prepare_to_write(connection: &Connection) -> rusqlite::Result<()> {
    let journal = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>("journal_mode"))?;
    if journal != "wal" {
        return Err(failure(ffi::SQLITE_CANTOPEN, format!("the journal is `{journal}`, not WAL")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)
}

/// A failure that SQLite has no words of its own for.
pub(super) fn failure(code: i32, reason: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(reason))
}

/// One thread's connection.
pub(super) struct Session {
    path: PathBuf,
    access: Access,
    connection: Option<Connection>,
}

impl Session {
    pub(super) fn open(path: &Path, access: Access) -> rusqlite::Result<Self> {
        let mut session = Self { path: path.to_owned(), access, connection: None };
        session.connection()?;
        Ok(session)
    }

    /// The connection; a new one if the last was given up.
    pub(super) fn connection(&mut self) -> rusqlite::Result<&Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = open(&self.path, self.access)?;
                if self.access == Access::Write {
                    prepare_to_write(&connection)?;
                }
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Gives the connection up: the next one may find the disk well again.
    pub(super) fn give_up(&mut self) {
        self.connection = None;
    }
}
