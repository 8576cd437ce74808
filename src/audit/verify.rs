//! Walks all files of a trail and names what was changed, removed, inserted or put elsewhere.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::chain::{self, Hash, Line, Link};
use crate::audit::disk::{self, file_name};
use crate::audit::entry::{Checkpoint, EventName, FORMAT, FileHead, Kind, PublicKey, Range, Removal};
use crate::audit::lines::{Lines, Next};

const BUFFER_BYTES: usize = 1 << 18;
/// A checkpoint is written behind the line that it signs by as many lines as come while the HSM signs.
const RECENT_MAX: usize = 1 << 20;
/// Further breaks are counted only.
const BREAKS_MAX: usize = 100;

/// What the store knows of the end of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub trail_id: String,
    pub sequence: u64,
    pub hash: Hash,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExpectedText {
    trail_id: String,
    sequence: u64,
    hash: String,
}

impl Expected {
    /// As the store keeps it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { trail_id, sequence, hash } = self.clone();
        let text = ExpectedText { trail_id, sequence, hash: chain::hexadecimal(&hash) };
        serde_json::to_vec(&text).unwrap_or_default()
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let ExpectedText { trail_id, sequence, hash } = serde_json::from_slice(bytes).ok()?;
        Some(Self { trail_id, sequence, hash: chain::parse_hash(hash.as_bytes())? })
    }

    /// Whether a line does not claim to follow this one, or does.
    pub(super) fn may_precede(&self, line: &Line<'_>) -> bool {
        line.sequence != self.sequence + 1 || line.previous == self.hash
    }

    pub(super) fn contradicts(&self, link: Link) -> bool {
        link.sequence == self.sequence && link.hash != self.hash
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub trail_id: Option<String>,
    pub files: usize,
    pub lines: u64,
    pub records: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub first_time: Option<String>,
    pub last_time: Option<String>,
    /// Those whose signature is right.
    pub checkpoints: u64,
    pub last_checkpoint: Option<Checkpoint>,
    /// Nobody signed them yet.
    pub records_behind_last_checkpoint: u64,
    /// Of a line at the end that is not whole: it is being written, or was when the daemon was killed.
    pub torn_bytes: u64,
    /// The first hundred.
    pub breaks: Vec<Break>,
    pub break_count: u64,
}

impl Report {
    pub fn is_whole(&self) -> bool {
        self.break_count == 0
    }
}

/// A place where the trail is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Break {
    pub file: String,
    pub line: u64,
    pub sequence: Option<u64>,
    #[serde(rename = "eventID")]
    pub event_id: Option<String>,
    pub event_name: Option<String>,
    pub reason: String,
}

/// Where a line is, for a break that is found later.
#[derive(Clone, Debug, Default)]
struct Place {
    file: String,
    line: u64,
    sequence: Option<u64>,
}

/// A line of the recent past.
struct Recent {
    hash: Hash,
    records: u64,
}

/// What the files of a trail do not say of themselves.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// In DER and Base64. Only its signatures count then, else those of the keys that the trail names.
    pub key: Option<&'a str>,
    pub end: Option<&'a Expected>,
    /// Whether a trail that the key has signed nothing of is broken.
    pub must_be_signed: bool,
    /// The first line, if whoever took earlier files away knows it.
    pub begins_at: u64,
}

/// Reads the whole trail in a folder.
pub fn verify_with(folder: &Path, known: &Known<'_>) -> io::Result<Report> {
    let Known { key, end, must_be_signed, begins_at } = *known;
    walk(folder, Walk { must_be_signed, begins_at: begins_at.max(1), ..Walk::new(key, end) })
}

/// The same of a trail from its first line on. With a key there has to be a signature of it.
pub fn verify(folder: &Path, key: Option<&str>, end: Option<&Expected>) -> io::Result<Report> {
    verify_with(folder, &Known { key, end, must_be_signed: key.is_some(), begins_at: 1 })
}

fn walk(folder: &Path, mut walk: Walk<'_>) -> io::Result<Report> {
    let files = disk::files(folder)?;
    for (place, first) in files.iter().enumerate() {
        let file = BufReader::with_capacity(BUFFER_BYTES, File::open(folder.join(file_name(*first)))?);
        walk.file(*first, file, place + 1 == files.len())?;
    }
    Ok(walk.finish())
}

/// Reads a trail of one file.
pub fn verify_text(text: &[u8]) -> Report {
    let mut walk = Walk::new(None, None);
    // Memory does not fail.
    let _ = walk.file(1, text, true);
    walk.finish()
}

struct Walk<'a> {
    report: Report,
    pinned: Option<&'a str>,
    expected: Option<&'a Expected>,
    key: Option<PublicKey>,
    first_file: String,
    /// The file's name says so; nothing behind its first line.
    first: Option<u64>,
    place: Place,
    /// The line before; its hash is not known if it was broken.
    last: Option<(u64, Option<Hash>)>,
    last_place: Place,
    last_line: Vec<u8>,
    /// The line before this one was changed, if this one was not.
    suspect: Option<Break>,
    recent: VecDeque<Recent>,
    signed_records: u64,
    /// Whether a trail without a signature of the key is broken.
    must_be_signed: bool,
    /// The last line here that a right signature is of, or zero.
    signed_to: u64,
    /// Lines whose files were removed, as the daemon says.
    removed: Option<Range>,
    /// Whoever took earlier files away knows that the trail begins here.
    begins_at: u64,
    last_record: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(pinned: Option<&'a str>, expected: Option<&'a Expected>) -> Self {
        Self {
            report: Report::default(),
            pinned,
            expected,
            key: None,
            first_file: String::new(),
            first: None,
            place: Place::default(),
            last: None,
            last_place: Place::default(),
            last_line: Vec::new(),
            suspect: None,
            recent: VecDeque::new(),
            signed_records: 0,
            must_be_signed: false,
            signed_to: 0,
            removed: None,
            begins_at: 1,
            last_record: Vec::new(),
        }
    }

    fn file(&mut self, first: u64, file: impl BufRead, is_newest: bool) -> io::Result<()> {
        self.report.files += 1;
        self.first = Some(first);
        self.place.file = file_name(first);
        if self.first_file.is_empty() {
            self.first_file.clone_from(&self.place.file);
        }
        let (mut lines, mut line) = (Lines::new(file), Vec::new());
        loop {
            match lines.next(&mut line)? {
                Next::Line => self.line(lines.number, &mut line),
                Next::Torn if is_newest => {
                    self.report.torn_bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
                    return Ok(());
                }
                Next::Torn => {
                    (self.place.line, self.place.sequence) = (lines.number, None);
                    self.report_here(&line, "it is not whole, and not the last");
                    return Ok(());
                }
                Next::End => return Ok(()),
            }
        }
    }

    /// Takes the line, and gives its memory back.
    fn line(&mut self, number: u64, line: &mut Vec<u8>) {
        self.report.lines += 1;
        self.place.line = number;
        let parsed = Line::parse(line);
        self.place.sequence = parsed.map(|parsed| parsed.sequence);
        let hash = chain::hash_of(line);
        match parsed {
            Some(parsed) => self.follow(&parsed, (line, hash)),
            None => {
                self.clear_suspicion();
                self.report_here(line, "it is not as the daemon writes lines: it was changed");
                // It takes the place of the line that it was.
                let sequence = self.last.map_or_else(|| self.first, |(last, _)| Some(last + 1));
                self.last = sequence.map(|sequence| (sequence, None));
            }
        }
        self.first = None;
        self.last_place.clone_from(&self.place);
        std::mem::swap(&mut self.last_line, line);
    }

    fn follow(&mut self, line: &Line<'_>, (bytes, hash): (&[u8], Hash)) {
        let link = Link { sequence: line.sequence, hash };
        if !self.is_next(line, bytes) {
            return;
        }
        self.last = Some((line.sequence, Some(hash)));
        if self.report.first_sequence == 0 {
            self.report.first_sequence = line.sequence;
            if self.expected.is_some_and(|expected| !expected.may_precede(line)) {
                self.report_here(bytes, "it does not follow from the line before it that the store knows");
            }
        }
        self.report.last_sequence = line.sequence;
        if self.expected.is_some_and(|expected| expected.contradicts(link)) {
            self.report_here(bytes, "it is not the line that the store knows under this sequence");
        }
        self.read(line, bytes);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { hash, records: self.report.records });
    }

    /// Whether the line stands where it belongs; if not, that is told.
    fn is_next(&mut self, line: &Line<'_>, bytes: &[u8]) -> bool {
        let Some((last, last_hash)) = self.last else {
            self.check_name(line, bytes);
            return true;
        };
        let follows = last_hash.is_none_or(|last_hash| last_hash == line.previous);
        let is_counted = line.sequence == last + 1;
        if follows && is_counted {
            self.clear_suspicion();
            self.check_name(line, bytes);
            return true;
        }
        self.recent.clear();
        if is_counted {
            // One of the two was changed: which, the next line says.
            if self.suspect.take().is_some() {
                let reason = "it was changed, and perhaps the line before it";
                self.tell(self.break_at(&self.last_place, &self.last_line, reason));
            } else {
                let reason = "it was changed, or what the line after it says of it";
                self.suspect = Some(self.break_at(&self.last_place, &self.last_line, reason));
            }
            self.check_name(line, bytes);
            return true;
        }
        self.clear_suspicion();
        if last_hash == Some(line.previous) {
            self.report_here(bytes, "its sequence was changed");
            self.last = Some((last + 1, None));
            return false;
        }
        if line.sequence > last + 1 {
            let reason = format!("the lines {} to {} before it are missing", last + 1, line.sequence - 1);
            self.report_here(bytes, &reason);
            self.check_name(line, bytes);
            return true;
        }
        let reason = format!("it was put here, behind the line {last}: it is there twice, or was elsewhere");
        self.report_here(bytes, &reason);
        false
    }

    /// The name of a file is the sequence of its first line, which is its head.
    fn check_name(&mut self, line: &Line<'_>, bytes: &[u8]) {
        let Some(first) = self.first else { return };
        if line.sequence != first {
            self.report_here(bytes, "the file has the name of another, or its beginning is missing");
        } else if Kind::of(line.body) != Kind::Head {
            self.report_here(bytes, "it is not the head of a file");
        }
    }

    fn read(&mut self, line: &Line<'_>, bytes: &[u8]) {
        match Kind::of(line.body) {
            Kind::Head => self.head(&line.object(), bytes),
            Kind::Key => match PublicKey::parse(&line.object()) {
                Some(key) => self.key = Some(key),
                None => self.report_here(bytes, "it is no public key"),
            },
            Kind::Checkpoint => self.checkpoint(&line.object(), bytes),
            Kind::Record => {
                self.report.records += 1;
                if self.report.first_time.is_none() {
                    self.report.first_time = EventName::of(bytes).event_time;
                }
                self.last_record.clear();
                self.last_record.extend_from_slice(bytes);
            }
            Kind::Removal => match Removal::parse(&line.object()) {
                Some(removal) => self.removed = Some(removal.lines),
                None => self.report_here(bytes, "it does not say what was removed"),
            },
            Kind::Gap | Kind::Intent => {}
        }
    }

    fn head(&mut self, object: &[u8], bytes: &[u8]) {
        let Some(head) = FileHead::parse(object).filter(|head| head.format == FORMAT) else {
            return self.report_here(bytes, "it is the head of a file in another format");
        };
        if self.report.trail_id.as_ref().is_some_and(|id| *id != head.trail_id) {
            self.report_here(bytes, "the file is of another trail");
        }
        if self.expected.is_some_and(|expected| expected.trail_id != head.trail_id) {
            self.report_here(bytes, "the file is not of the trail that the store knows");
        }
        self.report.trail_id = Some(head.trail_id);
        self.key = head.key.or(self.key.take());
        self.removed = head.removed.or(self.removed);
    }

    fn checkpoint(&mut self, object: &[u8], bytes: &[u8]) {
        let Some(checkpoint) = Checkpoint::parse(object) else {
            return self.report_here(bytes, "it is no checkpoint as the daemon writes them");
        };
        let Some(trail_id) = &self.report.trail_id else {
            return self.report_here(bytes, "it is a checkpoint without a head before it");
        };
        let key = match (&self.key, self.pinned) {
            (_, Some(pinned)) => {
                Some(PublicKey { key_id: checkpoint.key_id.clone(), public_key: pinned.to_owned() })
            }
            (Some(key), None) => Some(key.clone()),
            (None, None) => None,
        };
        if !key.is_some_and(|key| checkpoint.is_signed_by(&key, trail_id)) {
            return self.report_here(bytes, "its signature is not right");
        }
        let last = self.report.last_sequence;
        let back = last.checked_sub(checkpoint.sequence).and_then(|back| usize::try_from(back).ok());
        let recent = back.and_then(|back| self.recent.iter().rev().nth(back.checked_sub(1)?));
        if let Some(recent) = recent {
            if chain::hexadecimal(&recent.hash) != checkpoint.hash {
                let reason = format!("the line {} is not the one that it signs", checkpoint.sequence);
                return self.report_here(bytes, &reason);
            }
            self.signed_records = recent.records;
            self.signed_to = self.signed_to.max(checkpoint.sequence);
        } else if checkpoint.sequence >= self.report.first_sequence && self.report.is_whole() {
            return self.report_here(bytes, "it signs a line that is not before it");
        }
        self.report.checkpoints += 1;
        self.report.last_checkpoint = Some(checkpoint);
    }

    /// Nothing in the files themselves says that they are ours, but the signatures and what the store knows.
    fn check_signed(&mut self) {
        if self.must_be_signed && self.signed_to == 0 && self.report.records > 0 {
            let reason = "no line is signed by this key";
            self.tell(self.break_at(&self.last_place, &self.last_line, reason));
        }
        let (first, signed_to) = (self.report.first_sequence, self.signed_to);
        let is_lost = |expected: &&Expected| first > expected.sequence && signed_to < expected.sequence;
        if let Some(expected) = self.expected.filter(is_lost) {
            let reason = format!(
                "the lines up to {}, which the store knows, are missing before the line {first}, and nothing behind \
                 them is signed",
                expected.sequence
            );
            self.tell(self.break_at(&self.last_place, &self.last_line, &reason));
        }
    }

    /// The daemon says so before it removes the oldest files.
    fn check_beginning(&mut self) {
        let (first, begins_at) = (self.report.first_sequence, self.begins_at);
        let is_covered =
            |removed: Range| removed.first_sequence <= begins_at && removed.last_sequence + 1 >= first;
        if first > begins_at && !self.removed.is_some_and(is_covered) {
            let reason =
                format!("files with the lines {begins_at} to {} are missing at the beginning", first - 1);
            let place = Place { file: self.first_file.clone(), line: 1, sequence: Some(first) };
            self.tell(self.break_at(&place, &[], &reason));
        }
    }

    fn clear_suspicion(&mut self) {
        if let Some(found) = self.suspect.take() {
            self.tell(found);
        }
    }

    fn report_here(&mut self, line: &[u8], reason: &str) {
        self.tell(self.break_at(&self.place, line, reason));
    }

    fn tell(&mut self, found: Break) {
        self.report.break_count += 1;
        if self.report.breaks.len() < BREAKS_MAX {
            self.report.breaks.push(found);
        }
    }

    fn break_at(&self, place: &Place, line: &[u8], reason: &str) -> Break {
        let name = EventName::of(line);
        Break {
            file: place.file.clone(),
            line: place.line,
            sequence: place.sequence,
            event_id: name.event_id,
            event_name: name.event_name,
            reason: reason.to_owned(),
        }
    }

    fn finish(mut self) -> Report {
        self.clear_suspicion();
        if let Some(expected) = self.expected.filter(|expected| expected.sequence > self.report.last_sequence)
        {
            let reason = format!("the end is missing: the store knows of lines up to {}", expected.sequence);
            self.tell(self.break_at(&self.last_place, &self.last_line, &reason));
        }
        self.check_signed();
        self.check_beginning();
        self.report.last_time = EventName::of(&self.last_record).event_time;
        self.report.records_behind_last_checkpoint = self.report.records.saturating_sub(self.signed_records);
        self.report
    }
}
