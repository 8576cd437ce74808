//! Tells the daemon what has changed in a worker process: its keys, and how it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use crate::key_manager::pkcs11::engine::{Engine, Shared};
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::pin_state::PinState;
use crate::key_manager::pkcs11::process::codec::Writer;
use crate::key_manager::pkcs11::process::message::{FoundLabel, FromWorker, KeysMessage, Status};
use crate::key_manager::pkcs11::threads::Threads;

/// In one message.
const KEYS_AT_ONCE: usize = 1000;
/// The daemon takes silence for a hang.
const SILENCE_MAX: Duration = Duration::from_secs(1);

pub(super) struct Reporter {
    shared: Arc<Shared>,
    engine: Arc<Threads>,
    messages: mpsc::Sender<Writer>,
    /// Held while something is told, so that the daemon hears it in order.
    told: Mutex<Told>,
}

struct Told {
    inventory: Option<Arc<Inventory>>,
    status: Status,
    at: Instant,
}

impl Reporter {
    pub(super) fn new(shared: Arc<Shared>, engine: Arc<Threads>, messages: mpsc::Sender<Writer>) -> Self {
        let told = Told { inventory: None, status: Status::default(), at: shared.clock.instant() };
        Self { shared, engine, messages, told: Mutex::new(told) }
    }

    pub(super) async fn send(&self, message: &FromWorker) {
        // Without a daemon this process is about to end.
        let _ = self.messages.send(Writer::of(message)).await;
    }

    /// What has changed, and then the message, which may be about it.
    pub(super) async fn report(&self, message: Option<&FromWorker>) {
        let mut told = self.told.lock().await;
        self.tell_keys(&mut told).await;
        let status = self.status();
        let now = self.shared.clock.instant();
        if told.status != status || now.saturating_duration_since(told.at) >= SILENCE_MAX {
            self.send(&FromWorker::Status(status.clone())).await;
            told.status = status;
            told.at = now;
        }
        if let Some(message) = message {
            self.send(message).await;
        }
    }

    async fn tell_keys(&self, told: &mut Told) {
        let inventory = self.shared.inventory.load_full();
        if told.inventory.as_ref().is_some_and(|known| Arc::ptr_eq(known, &inventory)) {
            return;
        }
        // Before the token was read for the first time nothing is known of its keys, which is not that there are none.
        let is_first = told.inventory.is_none();
        if is_first && inventory.is_empty() {
            return;
        }
        let empty = Inventory::default();
        let changes = inventory.changes_since(told.inventory.as_deref().unwrap_or(&empty));
        let mut labels: Vec<_> = changes.into_iter().map(|(id, found)| FoundLabel { id, found }).collect();
        let mut is_whole = is_first;
        while is_whole || !labels.is_empty() {
            let rest = labels.split_off(labels.len().min(KEYS_AT_ONCE));
            let is_last = rest.is_empty();
            let keys = std::mem::replace(&mut labels, rest);
            self.send(&FromWorker::Keys(KeysMessage { is_whole, is_last, keys })).await;
            is_whole = false;
        }
        told.inventory = Some(inventory);
    }

    fn status(&self) -> Status {
        let (metrics, engine) = (&self.shared.metrics, &self.engine);
        Status {
            is_pin_rejected: engine.is_pin_rejected(),
            open_root_key: engine.open_root_key(),
            capabilities: engine.known_capabilities().map(|capabilities| capabilities.facts()),
            sessions: metrics.sessions.get(),
            keys: metrics.keys.get(),
            cached_keys: metrics.cached_keys.get(),
            shows_pin_rejected: metrics.pin_rejected.get() != 0,
            pin_state: metrics.shown_pin_state(PinState::ALL),
            reinitializations: metrics.reinitializations.get(),
            unwraps: metrics.unwraps.get(),
            faults: metrics.fault_counts(),
        }
    }
}
