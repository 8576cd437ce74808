//! What a start finds of the trail: where it ends, what was begun and not ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::audit::chain::{self, Line, Link};
use crate::audit::disk::{self, file_name};
use crate::audit::entry::{self, EventName, FORMAT, FileHead, Kind, PublicKey, Range, Removal};
use crate::audit::lines::{Lines, Next};
use crate::audit::trail::OpenError;
use crate::audit::verify::Expected;
use crate::audit::writer::days;

const BUFFER_BYTES: usize = 1 << 16;

/// The newest file that has a whole line.
pub(super) struct Recovered {
    pub(super) first: u64,
    /// Of its whole lines.
    pub(super) bytes: u64,
    pub(super) torn_bytes: u64,
    pub(super) last: Link,
    pub(super) head: FileHead,
    /// When it was begun, in days since the Unix epoch.
    pub(super) day: u64,
    pub(super) key: Option<PublicKey>,
    /// Lines whose files were removed.
    pub(super) removed: Option<Range>,
    /// Records of intents without an end, by the line they are in.
    pub(super) intents: BTreeMap<u64, Intent>,
    /// A newer file that has none: the daemon was stopped while it made it.
    pub(super) empty: Option<u64>,
    /// The line that the store knows is before all that are there, and its file is gone.
    pub(super) lacks_known: bool,
}

/// A call that was begun.
pub(super) struct Intent {
    pub(super) event_id: Option<String>,
    pub(super) json: Vec<u8>,
}

impl Intent {
    fn new(json: &[u8]) -> Self {
        Self { event_id: EventName::of(json).event_id, json: json.to_vec() }
    }
}

/// Nothing if there is no trail in the folder.
pub(super) fn recover(folder: &Path, expected: Option<&Expected>) -> Result<Option<Recovered>, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::Io(path, error)
    };
    let mut files = disk::files(folder).map_err(io(folder))?;
    let mut empty = None;
    while let Some(first) = files.pop() {
        let path = folder.join(file_name(first));
        let found = Reading::new(&path, first, expected)?.finish().map_err(io(&path))??;
        match (found, empty) {
            (Some(mut recovered), _) => {
                recovered.empty = empty;
                if let Some(expected) = expected.filter(|expected| expected.sequence < recovered.first) {
                    recovered.lacks_known = !holds(folder, &files, expected)?;
                }
                return Ok(Some(recovered));
            }
            (None, None) => empty = Some(first),
            (None, Some(_)) => {
                return Err(broken(path, 1, "it has no whole line, nor has the file after it"));
            }
        }
    }
    Ok(None)
}

/// Whether one of these files has the line that the store knows.
fn holds(folder: &Path, files: &[u64], expected: &Expected) -> Result<bool, OpenError> {
    let Some(first) = files.iter().rev().find(|first| **first <= expected.sequence) else { return Ok(false) };
    let path = folder.join(file_name(*first));
    let io = |error| OpenError::Io(path.clone(), error);
    let file = BufReader::with_capacity(BUFFER_BYTES, File::open(&path).map_err(io)?);
    let (mut lines, mut line) = (Lines::new(file), Vec::new());
    while matches!(lines.next(&mut line).map_err(io)?, Next::Line) {
        let Some(parsed) = Line::parse(&line).filter(|parsed| parsed.sequence == expected.sequence) else {
            continue;
        };
        let link = Link { sequence: parsed.sequence, hash: chain::hash_of(&line) };
        if expected.contradicts(link) {
            return Err(broken(
                path,
                lines.number,
                "it is not the line that the store knows under this sequence",
            ));
        }
        return Ok(true);
    }
    Ok(false)
}

fn broken(file: PathBuf, line: u64, reason: &str) -> OpenError {
    OpenError::Broken { file, line, reason: reason.to_owned() }
}

/// Zero if the head does not say.
fn day(created: &str) -> u64 {
    let time = OffsetDateTime::parse(created, &Rfc3339);
    time.map_or(0, |time| days(time.into()))
}

struct Reading<'a> {
    path: &'a Path,
    first: u64,
    expected: Option<&'a Expected>,
    lines: Lines<BufReader<File>>,
    last: Option<Link>,
    head: Option<FileHead>,
    key: Option<PublicKey>,
    removed: Option<Range>,
    intents: BTreeMap<u64, Intent>,
}

impl<'a> Reading<'a> {
    fn new(path: &'a Path, first: u64, expected: Option<&'a Expected>) -> Result<Self, OpenError> {
        let file = File::open(path).map_err(|error| OpenError::Io(path.to_owned(), error))?;
        Ok(Self {
            path,
            first,
            expected,
            lines: Lines::new(BufReader::with_capacity(BUFFER_BYTES, file)),
            last: None,
            head: None,
            key: None,
            removed: None,
            intents: BTreeMap::new(),
        })
    }

    fn finish(mut self) -> io::Result<Result<Option<Recovered>, OpenError>> {
        let mut line = Vec::new();
        let torn_bytes = loop {
            match self.lines.next(&mut line)? {
                Next::Line => {
                    if let Err(reason) = self.line(&line) {
                        return Ok(Err(broken(self.path.to_owned(), self.lines.number, reason)));
                    }
                }
                Next::Torn => break line.len(),
                Next::End => break 0,
            }
        };
        let Some((head, last)) = self.head.zip(self.last) else { return Ok(Ok(None)) };
        Ok(Ok(Some(Recovered {
            first: self.first,
            bytes: self.lines.bytes,
            torn_bytes: u64::try_from(torn_bytes).unwrap_or(u64::MAX),
            last,
            day: day(&head.created),
            head,
            key: self.key,
            removed: self.removed,
            intents: self.intents,
            empty: None,
            lacks_known: false,
        })))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let parsed = Line::parse(line).ok_or("it is not as the daemon writes lines")?;
        let object = parsed.object();
        let before = match self.last {
            Some(last) => last,
            None => self.head(&parsed, &object)?,
        };
        if parsed.sequence != before.sequence + 1 || parsed.previous != before.hash {
            return Err("it does not follow from the line before it");
        }
        let link = Link { sequence: parsed.sequence, hash: chain::hash_of(line) };
        if self.expected.is_some_and(|expected| expected.contradicts(link)) {
            return Err("it is not the line that the store knows under this sequence");
        }
        self.last = Some(link);
        self.note(link.sequence, &object);
        Ok(())
    }

    /// What the first line follows.
    fn head(&mut self, line: &Line<'_>, object: &[u8]) -> Result<Link, &'static str> {
        let head = FileHead::parse(object).ok_or("it is not the head of a file")?;
        if head.format != FORMAT {
            return Err("it has another format than this version writes");
        }
        if self.expected.is_some_and(|expected| expected.trail_id != head.trail_id) {
            return Err("the file is not of the trail that the store knows");
        }
        if self.expected.is_some_and(|expected| !expected.may_precede(line)) {
            return Err("it does not follow from the line before it that the store knows");
        }
        if head.first_sequence != self.first || line.sequence != self.first {
            return Err("the file has the name of another");
        }
        for (place, intent) in head.open_intents.iter().enumerate() {
            // Before the lines of this file.
            let place = u64::try_from(place).unwrap_or(u64::MAX);
            self.intents.insert(place.min(self.first - 1), Intent::new(intent.get().as_bytes()));
        }
        self.key.clone_from(&head.key);
        self.removed = head.removed;
        self.head = Some(head);
        Ok(Link { sequence: self.first - 1, hash: line.previous })
    }

    fn note(&mut self, sequence: u64, object: &[u8]) {
        match Kind::of(object) {
            Kind::Intent => {
                self.intents.extend(entry::intended(object).map(|record| (sequence, Intent::new(record))));
            }
            Kind::Key => self.key = PublicKey::parse(object).or(self.key.take()),
            Kind::Removal => {
                self.removed = Removal::parse(object).map(|removal| removal.lines).or(self.removed);
            }
            Kind::Record if !self.intents.is_empty() => {
                if let Some(id) = EventName::of(object).event_id {
                    self.intents.retain(|_, intent| intent.event_id.as_ref() != Some(&id));
                }
            }
            Kind::Checkpoint | Kind::Gap | Kind::Head | Kind::Record => {}
        }
    }
}
