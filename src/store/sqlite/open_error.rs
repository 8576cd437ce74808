//! Why a database cannot be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::store::sqlite::backup::BackupError;
use crate::store::sqlite::schema::SchemaError;

#[derive(Debug)]
pub enum OpenError {
    /// It is of an older schema, and no copy of it can be made, without which nothing is changed.
    Copy(BackupError),
    /// Another process, or another store of this one, has it open.
    InUse(PathBuf),
    Io(PathBuf, io::Error),
    /// For that copy and the change, in bytes.
    NoRoom {
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    Schema(PathBuf, SchemaError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy(error) => write!(f, "no copy can be made before the schema is changed: {error}"),
            Self::InUse(path) => write!(f, "{}: another process uses it", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoRoom { path, needed, free } => write!(
                f,
                "{}: its schema is older, and a copy is kept before it is changed: that takes {needed} bytes, \
                 and {free} are free",
                path.display()
            ),
            Self::Schema(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}
