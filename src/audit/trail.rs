//! The trail in files: what others append, and a thread that writes it.

use std::collections::HashMap;
use std::fmt;
use std::future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::audit::chain::{Link, ORIGIN};
use crate::audit::disk::{Disk, Folder};
use crate::audit::entry::{self, Checkpoint, PublicKey};
use crate::audit::event::{self, Details, Missing};
use crate::audit::live::Live;
use crate::audit::queue::{Item, Shared, Waiting};
use crate::audit::recovery::{self, Recovered};
use crate::audit::sinks::Sinks;
use crate::audit::verify::Expected;
use crate::audit::writer::{State, Writer, days};
use crate::audit::{Act, AuditLog, Kept, Limits, Record, Unkept};
use crate::clock::Clock;
use crate::domain::kms::Uuid;
use crate::metrics::AuditMetrics;

/// What a trail needs.
pub struct TrailParts {
    pub dir: PathBuf,
    pub limits: Limits,
    pub sinks: Sinks,
    /// The one that signs, if it is known already.
    pub key: Option<PublicKey>,
    /// What the store knows of the trail.
    pub expected: Option<Expected>,
    pub clock: Arc<dyn Clock>,
    pub metrics: AuditMetrics,
}

/// A trail in a folder, which nobody else writes to as long as this lives.
pub struct Trail {
    id: String,
    shared: Arc<Shared>,
}

/// Why a trail cannot be gone on with.
#[derive(Debug)]
pub enum OpenError {
    /// A file is not as the daemon left it.
    Broken {
        file: PathBuf,
        line: u64,
        reason: String,
    },
    Io(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { file, line, reason } => write!(
                f,
                "the audit trail was changed: {}, line {line}: {reason}; `holdfast audit verify` says more; move \
                 the folder away, and keep it, to begin another trail",
                file.display()
            ),
            Self::Io(path, error) => write!(f, "the audit trail in {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl Trail {
    /// Goes on with the trail in a folder, or begins one. `reason` says why, in the trail.
    pub fn open(parts: TrailParts, reason: &str) -> Result<Self, OpenError> {
        Self::open_with(parts, reason, event::start_logging)
    }

    /// Says in a trail that nothing is added to it from now on, and why.
    pub fn close(parts: TrailParts, reason: &str, patience: Duration) -> Result<(), OpenError> {
        let dir = parts.dir.clone();
        if Self::open_with(parts, reason, event::stop_logging)?.end(patience) {
            Ok(())
        } else {
            Err(OpenError::Io(dir, io::ErrorKind::TimedOut.into()))
        }
    }

    fn open_with(
        parts: TrailParts,
        reason: &str,
        event: fn(SystemTime, &Details) -> Record,
    ) -> Result<Self, OpenError> {
        let TrailParts { dir, limits, sinks, key, expected, clock, metrics } = parts;
        let io = |error| OpenError::Io(dir.clone(), error);
        let mut folder = Folder::lock(&dir).map_err(io)?;
        let found = recovery::recover(&dir, expected.as_ref())?;
        let mut details =
            Details { reason: reason.to_owned(), version: env!("CARGO_PKG_VERSION"), ..Details::default() };
        let interrupted = note(found.as_ref(), expected.as_ref(), &dir, &mut details);
        let state = continue_from(found, expected, (&mut folder, key.clone()), &*clock).map_err(io)?;
        let id = state.trail_id.clone();
        let shared = Arc::new(Shared::new(limits, Arc::clone(&clock)));
        for record in interrupted {
            shared.push(Item::Record(record));
        }
        shared.push(Item::Record(event(clock.now(), &details)));
        if let Some(key) = key {
            shared.push(Item::Key(key));
        }
        let writer = Writer::new(Arc::clone(&shared), Box::new(folder), state, sinks, metrics);
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run()).map_err(io)?;
        Ok(Self { id, shared })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn set_limits(&self, limits: Limits) {
        self.shared.set_limits(limits);
    }

    pub fn set_sinks(&self, sinks: Sinks) {
        self.shared.push(Item::Sinks(sinks));
    }

    /// Checkpoints are signed by this key from now on.
    pub fn set_key(&self, key: PublicKey) {
        self.shared.push(Item::Key(key));
    }

    /// The last line, when everything up to it is on the disk.
    pub async fn sync(&self) -> Result<Link, Unkept> {
        self.wait(Item::Sync).await
    }

    pub fn append_checkpoint(&self, checkpoint: &Checkpoint) {
        self.shared.push(Item::Object(checkpoint.to_object()));
    }

    /// Completes when a file was finished since the last call.
    pub async fn rotated(&self) {
        self.shared.rotated.notified().await;
    }

    /// Says in the trail that it ends here, and why.
    pub fn append_end(&self, reason: &str) {
        let details =
            Details { reason: reason.to_owned(), version: env!("CARGO_PKG_VERSION"), ..Details::default() };
        self.append(event::stop_logging(self.shared.clock.now(), &details));
    }

    /// Writes what there is, and ends. Whether that was possible in this time.
    pub fn end(&self, patience: Duration) -> bool {
        self.shared.end();
        self.shared.wait_for_end(patience)
    }

    async fn wait<T>(&self, item: impl FnOnce(Waiting<T>) -> Item) -> Result<T, Unkept> {
        let (sender, answer) = oneshot::channel();
        self.shared.push(item(sender));
        answer.await.unwrap_or_else(|_| Err(Unkept::Unavailable("it has ended".to_owned())))
    }
}

impl AuditLog for Trail {
    fn admits(&self, act: Act) -> Result<(), Unkept> {
        self.shared.admits(act)
    }

    fn intend(&self, record: Record) -> Kept<'_> {
        if let Err(unkept) = self.shared.admits(Act::Change) {
            return Box::pin(future::ready(Err(unkept)));
        }
        Box::pin(self.wait(|waiting| Item::Intent(record, waiting)))
    }

    fn append(&self, record: Record) {
        self.shared.append(record);
    }

    fn settle(&self) -> Kept<'_> {
        Box::pin(self.wait(Item::Settle))
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Says what was found that is not as it should be. The records of calls whose end nobody saw.
fn note(
    found: Option<&Recovered>,
    expected: Option<&Expected>,
    dir: &Path,
    details: &mut Details,
) -> Vec<Record> {
    let dir = dir.display();
    let last = found.map_or(0, |found| if found.lacks_known { 0 } else { found.last.sequence });
    if let Some(expected) = expected.filter(|expected| expected.sequence > last) {
        let missing = Missing { from: last + 1, to: expected.sequence };
        tracing::error!(
            from = missing.from,
            to = missing.to,
            "the audit trail in {dir} lacks lines that were there: {} to {}",
            missing.from,
            missing.to
        );
        details.missing_lines = Some(missing);
    }
    let Some(found) = found else { return Vec::new() };
    if found.torn_bytes > 0 {
        let bytes = found.torn_bytes;
        tracing::warn!(bytes, "the last line of the audit trail in {dir} was not whole, and is cut off");
        details.torn_bytes = Some(bytes);
    }
    let records: Vec<_> = found
        .intents
        .values()
        .map(|intent| Record {
            event_id: event_id(intent.event_id.as_deref()),
            json: entry::interrupted(&intent.json),
        })
        .collect();
    details.interrupted_calls = (!records.is_empty()).then_some(records.len());
    records
}

fn event_id(text: Option<&str>) -> Uuid {
    text.and_then(Uuid::parse).unwrap_or_else(event::random_id)
}

/// The file that is gone on with, or a new one.
fn continue_from(
    found: Option<Recovered>,
    expected: Option<Expected>,
    (folder, key): (&mut Folder, Option<PublicKey>),
    clock: &dyn Clock,
) -> io::Result<State> {
    let last = found.as_ref().map_or(ORIGIN, |found| found.last);
    let lacks = expected.filter(|expected| expected.sequence > last.sequence);
    let intents = found.iter().flat_map(|found| &found.intents);
    let intents: HashMap<_, _> = intents
        .map(|(sequence, intent)| (event_id(intent.event_id.as_deref()), (*sequence, intent.json.clone())))
        .collect();
    let mut trail_id = found.as_ref().map(|found| found.head.trail_id.clone());
    if let Some(found) = &found
        && found.empty.is_none()
        && lacks.is_none()
        && let Some(live) = reopen(folder, found)?
    {
        let day = found.day;
        let (key, removed, trail_id) = (found.key.clone(), found.removed, found.head.trail_id.clone());
        return Ok(State { live, last, trail_id, key, removed, intents, day });
    }
    // What is missing stays missing: nothing takes its numbers.
    let last =
        lacks.as_ref().map_or(last, |expected| Link { sequence: expected.sequence, hash: expected.hash });
    if let Some(expected) = lacks {
        trail_id = Some(expected.trail_id);
    }
    if let Some(empty) = found.as_ref().and_then(|found| found.empty) {
        folder.remove(empty)?;
    }
    let first = last.sequence + 1;
    let live = Live::new(folder.create(first)?, first, 0);
    let trail_id = trail_id.unwrap_or_else(|| event::random_id().to_string());
    let removed = found.as_ref().and_then(|found| found.removed);
    let mut state = State { live, last, trail_id, key, removed, intents, day: days(clock.now()) };
    let head = state.file_head(clock.now()).to_object();
    state.last = state.live.push(&head, state.last);
    Ok(state)
}

/// The newest file without what is torn; nothing if it is finished.
fn reopen(folder: &Folder, found: &Recovered) -> io::Result<Option<Live>> {
    if folder.is_finished(found.first)? {
        return Ok(None);
    }
    let mut file = folder.open(found.first)?;
    if found.torn_bytes > 0 {
        file.truncate(found.bytes)?;
    }
    Ok(Some(Live::new(file, found.first, found.bytes)))
}
