//! The seam to the audit trail: what was done, by whom, kept so that nobody can change it unnoticed.

mod chain;
mod disk;
mod entry;
mod event;
mod lines;
mod live;
mod off;
mod queue;
mod recovery;
mod sinks;
mod strangers;
#[cfg(test)]
mod tests;
mod trail;
mod verify;
mod writer;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::config::AuditLimits as Limits;
use crate::config::WhenFull;
use crate::domain::kms::Uuid;

pub use chain::{Hash, Line, Link, hexadecimal, parse_hash};
pub use entry::{Checkpoint, PublicKey};
pub use off::Off;
pub use sinks::{Sinks, SyslogSink};
pub use strangers::Strangers;
pub use trail::{OpenError, Trail, TrailParts};
pub use verify::{Break, Expected, Known, Report, verify, verify_text, verify_with};

pub type Kept<'a> = Pin<Box<dyn Future<Output = Result<(), Unkept>> + Send + 'a>>;

/// Where records go. Nothing here blocks an async thread.
///
/// A call that changes something says so first: [`AuditLog::intend`], before the first change. Then it happens, and
/// [`AuditLog::append`] takes the record of how it ended, under the same event id. If the daemon is killed between the
/// two, the next start finds an intent without an end, and writes the record of a call whose outcome is not known.
pub trait AuditLog: Send + Sync {
    /// Whether a call may begin: a call whose record could not be kept is refused before it does anything. Acts that
    /// change something are refused earlier than those that do not, so that there is room for the records of the
    /// others.
    fn admits(&self, act: Act) -> Result<(), Unkept>;

    /// Writes down what is about to be done. When this succeeds, it is on the disk.
    fn intend(&self, record: Record) -> Kept<'_>;

    /// Takes the record of a call that ended, in the order in which they end. It is written soon.
    fn append(&self, record: Record);

    /// Completes when everything that was appended before is out of this process: the end of it loses nothing then.
    fn settle(&self) -> Kept<'_>;
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `eventID`: of the intent and of the end of one call the same, otherwise unique.
    pub event_id: Uuid,
    /// A JSON object on one line, without the end of the line.
    pub json: Vec<u8>,
}

/// What a call is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It changes keys, aliases, grants or key stores.
    Change,
    /// It reads, or uses a key.
    Use,
}

/// Why a record cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// The disk is full, or nearly so.
    Full,
    /// Says why, for the log.
    Unavailable(String),
}

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("there is no room for the audit trail"),
            Self::Unavailable(reason) => write!(f, "the audit trail cannot be written: {reason}"),
        }
    }
}

impl std::error::Error for Unkept {}
