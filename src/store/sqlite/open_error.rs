//! Why a database cannot be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::store::sqlite::schema::SchemaError;

#[derive(Debug)]
pub enum OpenError {
    /// Another process, or another store of this one, has it open.
    InUse(PathBuf),
    Io(PathBuf, io::Error),
    Schema(PathBuf, SchemaError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(f, "{}: another process uses it", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Schema(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}
