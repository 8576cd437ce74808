//! What the daemon knows of an HSM whose library is in another process, whichever process that is just now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::config::private_file::FileVersion;
use crate::key_manager::backing_key::{RootKeyId, RootKeys};
use crate::key_manager::pkcs11::capabilities::{Capabilities, CapabilityFacts};
use crate::key_manager::pkcs11::engine::Shared;
use crate::key_manager::pkcs11::inventory::KeyChanges;
use crate::key_manager::pkcs11::pin_state::PinState;
use crate::key_manager::pkcs11::process::message::{KeysMessage, Status};
use crate::key_manager::pkcs11::worker::Job;
use crate::secret::SecretBytes;

/// A worker process that is broken must not make metric series without end.
const FAULT_CODES_MAX: usize = 128;
const FAULT_CODE_BYTES_MAX: usize = 48;
/// More keys than any token here can read within a minute.
const KEYS_MAX: usize = 1 << 20;

pub(super) struct Mirror {
    pub(super) shared: Arc<Shared>,
    /// A job that did not fit to the socket: the next to go.
    pub(super) stalled: Mutex<Option<Job>>,
    pin: Mutex<Pin>,
    /// Goes up with every PIN that is given or taken away.
    pin_changes: AtomicU64,
    is_connected: AtomicBool,
    is_pin_rejected: AtomicBool,
    wanted_roots: ArcSwapOption<RootKeys>,
    open_root: ArcSwapOption<RootKeyId>,
    capabilities: ArcSwapOption<Known>,
    fault_codes: Mutex<BTreeSet<String>>,
}

/// What the next worker process has to know of the PIN.
#[derive(Default)]
struct Pin {
    /// Of the member of a cluster, while its key store is connected: nobody else knows it then.
    given: Option<SecretBytes>,
    /// The version of the PIN file when it was looked at last.
    seen_version: Option<FileVersion>,
}

struct Known {
    facts: CapabilityFacts,
    capabilities: Arc<Capabilities>,
}

/// How much has been said of PINs so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PinNews {
    pub(super) changes: u64,
    /// The version of the PIN file that was seen last.
    pub(super) file: Option<FileVersion>,
}

/// Of a PIN, for the start of a worker process.
pub(super) struct PinFacts {
    pub(super) pin: Option<SecretBytes>,
    pub(super) is_rejected: bool,
}

impl Mirror {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            stalled: Mutex::new(None),
            is_connected: AtomicBool::new(shared.config.pin_file.is_some()),
            shared,
            pin: Mutex::default(),
            pin_changes: AtomicU64::new(0),
            is_pin_rejected: AtomicBool::new(false),
            wanted_roots: ArcSwapOption::empty(),
            open_root: ArcSwapOption::empty(),
            capabilities: ArcSwapOption::empty(),
            fault_codes: Mutex::default(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    pub(super) fn is_pin_rejected(&self) -> bool {
        self.is_pin_rejected.load(Ordering::Acquire)
    }

    pub(super) fn pin_changes(&self) -> u64 {
        self.pin_changes.load(Ordering::Acquire)
    }

    /// The token is to be logged in with it, or is already.
    pub(super) fn give_pin(&self, pin: &SecretBytes) {
        // The other HSMs have the PIN of their file.
        if self.shared.config.pin_file.is_none() {
            self.pin.lock().given = Some(pin.clone());
        }
        self.is_pin_rejected.store(false, Ordering::Release);
        self.is_connected.store(true, Ordering::Release);
        self.pin_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// It is the PIN of a token that we are logged in to; nothing changes if we are not.
    pub(super) fn replace_pin(&self, pin: &SecretBytes) {
        if let Some(given) = &mut self.pin.lock().given {
            *given = pin.clone();
            self.pin_changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn forget_pin(&self) {
        let mut pin = self.pin.lock();
        pin.given = None;
        self.is_pin_rejected.store(false, Ordering::Release);
        self.is_connected.store(false, Ordering::Release);
        self.pin_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the PIN file is another than when this was asked last.
    pub(super) fn see_pin_file(&self) -> bool {
        let version = self.shared.config.pin_version().ok().flatten();
        let mut pin = self.pin.lock();
        let is_other = pin.seen_version != version;
        pin.seen_version = version;
        if is_other {
            self.is_pin_rejected.store(false, Ordering::Release);
        }
        is_other
    }

    pub(super) fn pin_news(&self) -> PinNews {
        PinNews { changes: self.pin_changes(), file: self.pin.lock().seen_version }
    }

    pub(super) fn pin_facts(&self) -> PinFacts {
        let pin = self.pin.lock();
        PinFacts { pin: pin.given.clone(), is_rejected: self.is_pin_rejected() }
    }

    pub(super) fn want_roots(&self, keys: RootKeys) {
        self.wanted_roots.store(Some(Arc::new(keys)));
    }

    pub(super) fn wanted_roots(&self) -> Option<RootKeys> {
        self.wanted_roots.load().as_deref().copied()
    }

    pub(super) fn is_root_open(&self) -> bool {
        let open = self.open_root.load();
        open.is_some() && open.as_deref().copied() == self.wanted_roots().map(|keys| keys.current)
    }

    /// Another one may have proven itself that is not the current one.
    pub(super) fn root_opened(&self, id: RootKeyId) {
        if self.wanted_roots().is_none_or(|keys| keys.current == id) {
            self.open_root.store(Some(Arc::new(id)));
        }
    }

    pub(super) fn capabilities(&self) -> Arc<Capabilities> {
        self.capabilities.load().as_ref().map(|known| Arc::clone(&known.capabilities)).unwrap_or_default()
    }

    /// Takes up how the worker process is; `before` is what it said last.
    pub(super) fn take_up(&self, status: &Status, before: &Status) {
        let metrics = &self.shared.metrics;
        self.is_pin_rejected.store(status.is_pin_rejected, Ordering::Release);
        self.open_root.store(status.open_root_key.map(Arc::new));
        if let Some(facts) = &status.capabilities {
            self.learn(facts);
        }
        metrics.sessions.set(status.sessions);
        metrics.keys.set(status.keys);
        metrics.cached_keys.set(status.cached_keys);
        metrics.pin_rejected.set(i64::from(status.shows_pin_rejected));
        if let Some(state) = status.pin_state.and_then(|place| PinState::ALL.get(place)) {
            metrics.set_pin_state(state, PinState::ALL);
        }
        metrics.reinitializations.inc_by(status.reinitializations.saturating_sub(before.reinitializations));
        metrics.unwraps.inc_by(status.unwraps.saturating_sub(before.unwraps));
        for (code, count) in status.faults.iter().take(FAULT_CODES_MAX) {
            let known = before.faults.iter().find(|(known, _)| known == code).map_or(0, |(_, count)| *count);
            metrics.add_faults(self.fault_label(code), count.saturating_sub(known));
        }
    }

    /// The label of a code; there are only so many.
    fn fault_label<'c>(&self, code: &'c str) -> &'c str {
        let mut known = self.fault_codes.lock();
        if known.contains(code) {
            return code;
        }
        if code.len() > FAULT_CODE_BYTES_MAX || !code.is_ascii() || known.len() >= FAULT_CODES_MAX {
            return "other";
        }
        known.insert(code.to_owned());
        code
    }

    /// What an earlier process knew holds for the next.
    fn learn(&self, facts: &CapabilityFacts) {
        if self.capabilities.load().as_ref().is_none_or(|known| known.facts != *facts) {
            let capabilities = Arc::new(Capabilities::from_facts(facts.clone()));
            self.capabilities.store(Some(Arc::new(Known { facts: facts.clone(), capabilities })));
        }
    }

    /// There is no worker process: nothing is open, nothing held.
    pub(super) fn forget_process(&self) {
        self.open_root.store(None);
        self.shared.metrics.sessions.set(0);
        self.shared.metrics.cached_keys.set(0);
    }

    /// Takes up keys when all of a change is there. An error if there are too many of them.
    pub(super) fn take_up_keys(
        &self,
        message: KeysMessage,
        pending: &mut KeyChanges,
    ) -> Result<(), TooManyKeys> {
        let is_last = message.is_last;
        if message.is_whole {
            pending.is_whole = true;
        }
        pending.keys.extend(message.into_map());
        if pending.keys.len() > KEYS_MAX {
            return Err(TooManyKeys);
        }
        if is_last {
            let changed = self.shared.inventory.load().changed(std::mem::take(pending));
            self.shared.inventory.store(Arc::new(changed));
        }
        Ok(())
    }

    /// The next job that somebody waits for.
    pub(super) fn next_job(&self, now: Instant) -> Option<Job> {
        loop {
            let stalled = self.stalled.lock().take();
            let job = stalled.or_else(|| self.shared.jobs.try_pop())?;
            if !job.is_stale(now) {
                return Some(job);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TooManyKeys;
