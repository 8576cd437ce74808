//! Copies of a database: made while it is in use, looked at, and put back.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OptionalExtension};
use tempfile::NamedTempFile;

use crate::domain::kms::{RootKeyId, RootKeys};
use crate::store::Setting;
use crate::store::sqlite::connection::{self, Access};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::schema::{self, MIGRATIONS, SchemaError, Version};
use crate::store::sqlite::{files, identities, root_keys};

/// One megabyte: how much is copied before it is asked whether to stop.
const PAGES_A_STEP: i32 = 256;

/// What the name of a copy starts with until it is whole.
const UNFINISHED: &str = ".holdfast-copy-";

/// What a backup file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFacts {
    pub schema_version: Version,
    /// The root keys that its keys and secrets are under, the current one first: none before the first start.
    pub root_keys: Vec<RootKeyId>,
    pub keys: u64,
}

/// Why a copy cannot be made, or is not one.
#[derive(Debug)]
pub enum BackupError {
    /// It has errors: the first of them.
    Damaged(PathBuf, String),
    /// Nothing is ever overwritten.
    Exists(PathBuf),
    /// A daemon runs on it.
    InUse(PathBuf),
    Io(PathBuf, io::Error),
    Schema(PathBuf, SchemaError),
    /// The database is being closed, or locked by a stranger.
    Stopped,
}

/// Copies the database, as it is at the start, to a file that is there whole or not at all. The log grows
/// meanwhile, but nobody who writes has to wait.
pub(super) fn copy(from: &Path, to: &Path, stop: &AtomicBool) -> Result<(), BackupError> {
    let to = std::path::absolute(to).map_err(|error| BackupError::Io(to.to_owned(), error))?;
    let folder = to.parent().unwrap_or(Path::new("/"));
    let io = |error| BackupError::Io(to.clone(), error);
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to));
    }
    let file = unfinished(folder).map_err(io)?;
    copy_pages(from, file.path(), stop)?;
    put_in_place(file, &to)
}

fn unfinished(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)
}

/// Removes from the folder of the database what a process left that was killed while it copied. The caller has the lock.
pub(super) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Copies the database of a folder that no daemon uses, as it is: its schema is not brought up to date, and where there
/// is none, none is made.
pub fn copy_unused(folder: &Path, to: &Path) -> Result<(), BackupError> {
    let io = |error| BackupError::Io(folder.to_owned(), error);
    let database = files::database(folder).map_err(io)?;
    database.metadata().map_err(|error| BackupError::Io(database.clone(), error))?;
    let _lock = files::lock(folder).map_err(io)?.ok_or_else(|| BackupError::InUse(folder.to_owned()))?;
    copy(&database, to, &AtomicBool::new(false))
}

/// Gives a finished file its name, durably.
fn put_in_place(file: NamedTempFile, to: &Path) -> Result<(), BackupError> {
    let io = |error| BackupError::Io(to.to_owned(), error);
    file.as_file().sync_all().map_err(io)?;
    if let Err(failed) = file.persist_noclobber(to) {
        let is_taken = failed.error.kind() == io::ErrorKind::AlreadyExists;
        return Err(if is_taken { BackupError::Exists(to.to_owned()) } else { io(failed.error) });
    }
    files::sync_folder(to.parent().unwrap_or(Path::new("/"))).map_err(io)
}

fn copy_pages(from: &Path, to: &Path, stop: &AtomicBool) -> Result<(), BackupError> {
    let source = open(from)?;
    let sql = |path: &Path| {
        let path = path.to_owned();
        move |error| BackupError::Schema(path, SchemaError::Sql(error))
    };
    // The snapshot that this begins is what all steps copy: without it, each write would make them start again.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema").map_err(sql(from))?;
    let mut target = connection::open(to, Access::Write).map_err(sql(to))?;
    target.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF").map_err(sql(to))?;
    let backup = Backup::new(&source, &mut target).map_err(sql(to))?;
    loop {
        let step = backup.step(PAGES_A_STEP).map_err(sql(to))?;
        if step == StepResult::Done {
            break;
        }
        if step != StepResult::More || stop.load(Ordering::Relaxed) {
            return Err(BackupError::Stopped);
        }
    }
    drop(backup);
    drop(target);
    // The header was copied too, and asks for a log beside the file: a backup is one file.
    let target = connection::open(to, Access::Write).map_err(sql(to))?;
    target.pragma_update(None, "journal_mode", "DELETE").map_err(sql(to))
}

/// Looks at a backup file; changes nothing.
pub fn inspect(path: &Path) -> Result<BackupFacts, BackupError> {
    let file = open(path)?;
    let sql = |error| BackupError::Schema(path.to_owned(), SchemaError::Sql(error));
    let schema = |error| BackupError::Schema(path.to_owned(), error);
    let fault =
        file.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)).map_err(sql)?;
    let damaged = |fault| BackupError::Damaged(path.to_owned(), fault);
    if fault != "ok" {
        // A head line goes before it.
        return Err(damaged(fault.lines().last().unwrap_or_default().to_owned()));
    }
    let orphan = file.query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0));
    if let Some(table) = orphan.optional().map_err(sql)? {
        return Err(damaged(format!("a row of `{table}` belongs to nothing")));
    }
    let keys: i64 = file.query_row("SELECT count(*) FROM kms_key", [], |row| row.get(0)).map_err(sql)?;
    Ok(BackupFacts {
        schema_version: schema::version(&file, MIGRATIONS.len()).map_err(schema)?,
        root_keys: needed_root_keys(&file).map_err(|fault| unreadable(path, fault))?,
        keys: keys.unsigned_abs(),
    })
}

/// A former one is needed as long as anything is under it, retired or not.
fn needed_root_keys(file: &Connection) -> Result<Vec<RootKeyId>, Fault> {
    let Some(RootKeys { current, former }) = root_keys::get(file)? else { return Ok(Vec::new()) };
    // Older schemas have no former one, nor what it takes to look for its uses.
    let former = match former {
        Some(former) if root_keys::uses(file)?.others > 0 => Some(former),
        Some(_) | None => None,
    };
    Ok([current].into_iter().chain(former).collect())
}

fn unreadable(path: &Path, fault: Fault) -> BackupError {
    match fault {
        Fault::Sql(error) => BackupError::Schema(path.to_owned(), SchemaError::Sql(error)),
        Fault::Refused(_) | Fault::Value(_) => BackupError::Damaged(path.to_owned(), fault.to_string()),
    }
}

/// A setting of the database in a folder, also while a daemon uses it. Nothing if there is no database.
pub fn read_setting(folder: &Path, name: Setting) -> Result<Option<Vec<u8>>, BackupError> {
    let database = files::database(folder).map_err(|error| BackupError::Io(folder.to_owned(), error))?;
    if !database.exists() {
        return Ok(None);
    }
    let sql = |error| BackupError::Schema(database.clone(), SchemaError::Sql(error));
    identities::setting(&open(&database)?, name).map_err(sql)
}

/// Makes a backup file the database of a folder that has none.
pub fn restore(from: &Path, to_folder: &Path) -> Result<BackupFacts, BackupError> {
    let io = |error| BackupError::Io(to_folder.to_owned(), error);
    let _lock =
        files::lock(to_folder).map_err(io)?.ok_or_else(|| BackupError::InUse(to_folder.to_owned()))?;
    let database = files::database(to_folder).map_err(io)?;
    let folder = database.parent().unwrap_or(to_folder);
    for path in files::beside(&database).chain([database.clone()]) {
        if path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(path));
        }
    }
    let file = unfinished(folder).map_err(io)?;
    copy_pages(from, file.path(), &AtomicBool::new(false))?;
    let facts = inspect(file.path())?;
    put_in_place(file, &database)?;
    Ok(facts)
}

/// Opens a database of ours that has something in it.
pub(super) fn open(path: &Path) -> Result<Connection, BackupError> {
    let schema = |error| BackupError::Schema(path.to_owned(), error);
    let absolute = std::path::absolute(path).map_err(|error| BackupError::Io(path.to_owned(), error))?;
    let file = connection::open(&absolute, Access::Read).map_err(|error| schema(error.into()))?;
    match schema::version(&file, MIGRATIONS.len()).map_err(schema)? {
        0 => Err(schema(SchemaError::NotOurs)),
        _ => Ok(file),
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(path, fault) => write!(f, "{}: damaged: {fault}", path.display()),
            Self::Exists(path) => write!(f, "{} exists already", path.display()),
            Self::InUse(path) => write!(f, "{}: another process uses it", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Schema(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Stopped => f.write_str("the database is being closed or locked"),
        }
    }
}

impl std::error::Error for BackupError {}
