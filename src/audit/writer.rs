//! The thread that writes the trail: numbers, chains, writes, syncs, begins the next file.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;

use crate::audit::chain::{self, Link};
use crate::audit::disk::{Disk, file_name};
use crate::audit::entry::{self, FORMAT, FileHead, Gap, PublicKey, Range, Removal, RemovedFile};
use crate::audit::live::Live;
use crate::audit::queue::{Batch, Item, Shared, Waiting};
use crate::audit::sinks::Sinks;
use crate::audit::{Limits, Record, Unkept};
use crate::domain::kms::Uuid;
use crate::logging;
use crate::metrics::AuditMetrics;

/// Between two looks at the disk, and how full it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two tries to write where writing fails.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// What is not on the disk for sure is in memory.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;
/// Tries at the end of the program.
const LAST_TRIES: usize = 3;
const SECONDS_PER_DAY: u64 = 86_400;

/// The present state of a trail.
pub(super) struct State {
    pub(super) live: Live,
    pub(super) last: Link,
    pub(super) trail_id: String,
    pub(super) key: Option<PublicKey>,
    /// Lines whose files were removed.
    pub(super) removed: Option<Range>,
    /// Without an end: the line that each is in, and its record.
    pub(super) intents: HashMap<Uuid, (u64, Vec<u8>)>,
    /// When the file was begun, in days since the Unix epoch.
    pub(super) day: u64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    state: State,
    sinks: Sinks,
    metrics: AuditMetrics,
    /// Bytes of records that were taken and are not in the file.
    unwritten: usize,
    dropped: u64,
    /// What was written is to be synced by then.
    sync_by: Option<Instant>,
    /// The last sync failed: nothing is written for sure before one succeeds.
    owes_sync: bool,
    /// Writing failed, and is not tried again before.
    next_try: Option<Instant>,
    next_look: Instant,
    /// The next file could not be made, and is not tried again before.
    next_rotation: Option<Instant>,
    /// `keep_days` and `keep_files` by which old files were removed last.
    kept_by: Option<(u32, usize)>,
}

/// Who wants to know how it went.
#[derive(Default)]
struct Waiters {
    written: Vec<Waiting<()>>,
    synced: Vec<Waiting<()>>,
    last: Vec<Waiting<Link>>,
}

impl Waiters {
    fn need_sync(&self) -> bool {
        !self.synced.is_empty() || !self.last.is_empty()
    }

    fn answer(self, written: &Result<(), Unkept>, synced: &Result<(), Unkept>, last: Link) {
        // Whoever does not wait any more need not be told.
        self.written.into_iter().for_each(|waiting| drop(waiting.send(written.clone())));
        self.synced.into_iter().for_each(|waiting| drop(waiting.send(synced.clone())));
        self.last.into_iter().for_each(|waiting| drop(waiting.send(synced.clone().map(|()| last))));
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Box<dyn Disk>,
        state: State,
        sinks: Sinks,
        metrics: AuditMetrics,
    ) -> Self {
        let next_look = shared.clock.instant();
        Self {
            shared,
            disk,
            state,
            sinks,
            metrics,
            unwritten: 0,
            dropped: 0,
            sync_by: None,
            owes_sync: false,
            next_try: None,
            next_look,
            next_rotation: None,
            kept_by: None,
        }
    }

    /// Writes until the end.
    pub(super) fn run(mut self) {
        loop {
            let now = self.shared.clock.instant();
            let wake = [self.sync_by, self.next_try].into_iter().flatten().fold(self.next_look, Instant::min);
            let batch = self.shared.take(wake.saturating_duration_since(now));
            let is_ending = batch.is_ending;
            self.turn(batch);
            if is_ending {
                return self.finish();
            }
        }
    }

    fn turn(&mut self, batch: Batch) {
        let mut waiters = Waiters::default();
        self.dropped += batch.dropped;
        self.metrics.records_dropped.inc_by(batch.dropped);
        for item in batch.items {
            self.take_up(item, &mut waiters);
        }
        let written = self.write();
        let is_due = self.sync_by.is_some_and(|by| self.shared.clock.instant() >= by);
        let must_sync =
            waiters.need_sync() || is_due || self.state.live.unsynced_bytes() >= UNSYNCED_BYTES_MAX;
        let synced = match &written {
            Ok(()) if must_sync => self.sync(),
            Ok(()) => Ok(()),
            Err(unkept) => Err(unkept.clone()),
        };
        waiters.answer(&written, &synced, self.state.last);
        self.look();
    }

    fn take_up(&mut self, item: Item, waiters: &mut Waiters) {
        match item {
            Item::Record(record) => self.record(&record),
            Item::Intent(record, waiting) => {
                self.unwritten += record.json.len();
                self.push(&entry::intent_object(&on_one_line(&record.json)));
                self.state.intents.insert(record.event_id, (self.state.last.sequence, record.json));
                waiters.synced.push(waiting);
            }
            Item::Object(object) => {
                self.unwritten += object.len();
                self.push(&object);
            }
            Item::Key(key) => {
                if self.state.key.as_ref() != Some(&key) {
                    self.push(&key.to_object());
                    self.state.key = Some(key);
                }
            }
            Item::Sinks(sinks) => self.sinks = sinks,
            Item::Settle(waiting) => waiters.written.push(waiting),
            Item::Sync(waiting) => waiters.last.push(waiting),
        }
    }

    fn record(&mut self, record: &Record) {
        self.unwritten += record.json.len();
        self.push(&on_one_line(&record.json));
        self.metrics.records.inc();
        if !self.state.intents.is_empty() {
            self.state.intents.remove(&record.event_id);
        }
    }

    fn push(&mut self, object: &[u8]) {
        self.state.last = self.state.live.push(object, self.state.last);
    }

    /// Writes what was numbered.
    fn write(&mut self) -> Result<(), Unkept> {
        let now = self.shared.clock.instant();
        if self.next_try.is_some_and(|at| now < at) {
            return Err(self.shared.failure().unwrap_or(Unkept::Full));
        }
        let mut result = self.write_lines();
        if result.is_ok() && self.dropped > 0 {
            let time = logging::timestamp(self.shared.clock.now());
            self.push(&Gap { time, dropped_records: self.dropped }.to_object());
            self.dropped = 0;
            result = self.write_lines();
        }
        if result.is_ok() && self.owes_sync {
            result = self.shared.with_disk(|| self.state.live.sync());
        }
        if let Err(error) = result {
            return Err(self.fail("written", &error));
        }
        self.succeed();
        self.shared.written(std::mem::take(&mut self.unwritten));
        if self.state.live.unsynced_bytes() > 0 && self.sync_by.is_none() {
            self.sync_by = Some(now + self.limits().sync_interval);
        }
        Ok(())
    }

    fn write_lines(&mut self) -> io::Result<()> {
        let result = self.shared.with_disk(|| self.state.live.write());
        // Before they are on the disk for sure, and are forgotten.
        let fresh = self.state.live.show();
        if !self.sinks.is_empty() {
            fresh.for_each(|line| self.sinks.send(line));
        }
        result
    }

    /// What was written is on the disk when this succeeds.
    fn sync(&mut self) -> Result<(), Unkept> {
        let started = self.shared.clock.instant();
        if let Err(error) = self.shared.with_disk(|| self.state.live.sync()) {
            self.owes_sync = true;
            return Err(self.fail("synced", &error));
        }
        self.owes_sync = false;
        self.sync_by = None;
        let seconds = self.shared.clock.instant().saturating_duration_since(started).as_secs_f64();
        self.metrics.sync_duration.observe(seconds);
        Ok(())
    }

    fn fail(&mut self, what: &str, error: &io::Error) -> Unkept {
        let unkept = unkept(error);
        if self.shared.failure().as_ref() != Some(&unkept) {
            tracing::error!(reason = %error, "the audit trail cannot be {what}: {error}");
        }
        self.shared.set_failure(Some(unkept.clone()));
        self.metrics.is_failing.set(1);
        let now = self.shared.clock.instant();
        self.next_try = Some(now + RETRY_INTERVAL);
        self.next_look = now;
        unkept
    }

    fn succeed(&mut self) {
        self.next_try = None;
        self.owes_sync = false;
        if self.shared.failure().is_some() {
            tracing::info!("the audit trail can be written again");
            self.shared.set_failure(None);
        }
        self.metrics.is_failing.set(0);
    }

    /// Looks, once in a while, at how full the disk is, and whether a new file is due.
    fn look(&mut self) {
        let now = self.shared.clock.instant();
        self.metrics.buffered_bytes.set(i64::try_from(self.shared.buffered_bytes()).unwrap_or(i64::MAX));
        let may_rotate = self.next_try.is_none() && self.next_rotation.is_none_or(|at| now >= at);
        let is_long = may_rotate && self.state.live.bytes() >= self.limits().file_bytes_max;
        if now < self.next_look && !is_long {
            return;
        }
        self.next_look = now + LOOK_INTERVAL;
        let mut is_low = false;
        if let Ok(free) = self.shared.with_disk(|| self.disk.free_bytes()) {
            is_low = free < self.limits().free_bytes_min;
            self.shared.set_low(is_low);
            self.metrics.free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        }
        let is_old = may_rotate && days(self.shared.clock.now()) > self.state.day;
        // A file has more than its head.
        let is_due = (is_long || is_old) && self.state.last.sequence > self.state.live.first;
        if is_due {
            self.rotate();
        }
        let Limits { keep_days, keep_files, .. } = self.limits();
        let has_new_rules = self.kept_by != Some((keep_days, keep_files));
        // Whoever makes room by other rules does not wait for the next file.
        if self.next_try.is_none() && (is_due || has_new_rules || is_low) {
            self.kept_by = Some((keep_days, keep_files));
            self.remove_old();
        }
    }

    /// Begins the next file. If that is not possible, this one goes on.
    fn rotate(&mut self) {
        if self.sync().is_err() {
            return;
        }
        let finished = self.state.live.first;
        let first = self.state.last.sequence + 1;
        match self.shared.with_disk(|| self.disk.create(first)) {
            Ok(file) => {
                self.state.live = Live::new(file, first, 0);
                self.next_rotation = None;
            }
            Err(error) => {
                if self.next_rotation.is_none() {
                    tracing::warn!(reason = %error, "no new file of the audit trail can be made: {error}");
                }
                self.next_rotation = Some(self.shared.clock.instant() + LOOK_INTERVAL);
                return;
            }
        }
        self.state.day = days(self.shared.clock.now());
        let head = self.state.file_head(self.shared.clock.now());
        self.push(&head.to_object());
        let _ = self.write().and_then(|()| self.sync());
        if let Err(error) = self.disk.finish(finished) {
            tracing::warn!(reason = %error, "a finished file of the audit trail can still be written to: {error}");
        }
        self.shared.rotated.notify_one();
    }

    fn remove_old(&mut self) {
        let Limits { keep_days, keep_files, .. } = self.limits();
        let Ok(mut files) = self.disk.files() else { return };
        files.retain(|(first, _)| *first < self.state.live.first);
        let too_many = match keep_files {
            0 => 0,
            kept => (files.len() + 1).saturating_sub(kept),
        };
        let now = self.shared.clock.now();
        let is_old = |written: SystemTime| {
            let age = now.duration_since(written).unwrap_or_default();
            keep_days > 0 && age.as_secs() > u64::from(keep_days) * SECONDS_PER_DAY
        };
        // The oldest ones, without a gap between them.
        let old = files.iter().enumerate().take_while(|(place, (_, at))| *place < too_many || is_old(*at));
        let old: Vec<_> = old.map(|(_, (first, _))| *first).collect();
        if !self.announce_removal(&old) {
            return;
        }
        for first in &old {
            match self.disk.remove(*first) {
                Ok(()) => tracing::info!(first, "an old file of the audit trail was removed"),
                Err(error) => tracing::warn!(
                    reason = %error,
                    "an old file of the audit trail cannot be removed: {error}"
                ),
            }
        }
    }

    /// Whether the trail says so on the disk: what is missing and is not said to be removed, others removed.
    fn announce_removal(&mut self, old: &[u64]) -> bool {
        let mut files = Vec::new();
        for first in old {
            // What cannot be read is missing from then on, and told so.
            let last_sequence = self.disk.last_sequence(*first).unwrap_or_else(|error| {
                tracing::warn!(reason = %error, "an old file of the audit trail cannot be read: {error}");
                *first
            });
            files.push(RemovedFile { name: file_name(*first), first_sequence: *first, last_sequence });
        }
        let ranges = files
            .iter()
            .map(|file| Range { first_sequence: file.first_sequence, last_sequence: file.last_sequence });
        let lines = ranges.fold(self.state.removed, |removed, file| Some(Range::and(removed, file)));
        let Some(lines) = lines.filter(|_| !files.is_empty()) else { return false };
        self.state.removed = Some(lines);
        let time = logging::timestamp(self.shared.clock.now());
        self.push(&Removal { time, files, lines }.to_object());
        self.write().and_then(|()| self.sync()).is_ok()
    }

    fn limits(&self) -> Limits {
        self.shared.limits.lock().clone()
    }

    fn finish(mut self) {
        for _ in 0..LAST_TRIES {
            self.next_try = None;
            let batch = self.shared.take(Duration::ZERO);
            self.turn(batch);
            if self.shared.failure().is_none() && self.sync().is_ok() {
                break;
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
        let lost = self.state.live.unsynced_bytes();
        if lost > 0 {
            tracing::error!(bytes = lost, "the last lines of the audit trail could not be written");
        }
        let shared = Arc::clone(&self.shared);
        // Gives the folder back first: whoever waited for the end may open it.
        drop(self);
        shared.set_ended();
    }
}

impl State {
    /// The first line of a file that follows now.
    pub(super) fn file_head(&self, now: SystemTime) -> FileHead {
        let mut intents: Vec<_> = self.intents.values().collect();
        intents.sort_unstable();
        let open_intents = intents.into_iter().filter_map(|(_, json)| {
            String::from_utf8(json.clone()).ok().and_then(|json| RawValue::from_string(json).ok())
        });
        FileHead {
            format: FORMAT,
            trail_id: self.trail_id.clone(),
            created: logging::timestamp(now),
            first_sequence: self.last.sequence + 1,
            previous: chain::hexadecimal(&self.last.hash),
            key: self.key.clone(),
            removed: self.removed,
            open_intents: open_intents.collect(),
        }
    }
}

pub(super) fn days(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / SECONDS_PER_DAY
}

/// A record is a line. JSON has newlines only between its words, where a space says the same.
fn on_one_line(json: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if json.contains(&b'\n') {
        json.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect::<Vec<_>>().into()
    } else {
        json.into()
    }
}

fn unkept(error: &io::Error) -> Unkept {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    if full.contains(&error.kind()) { Unkept::Full } else { Unkept::Unavailable(error.to_string()) }
}
