//! The PKCS#11 library in this process: worker threads, and one that watches.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Sender, TrySendError};

use crate::domain::kms::MaterialId;
use crate::key_manager::backing_key::{RootKeyId, RootKeys};
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::capabilities::Capabilities;
use crate::key_manager::pkcs11::engine::{Engine, Interruption, Shared};
use crate::key_manager::pkcs11::job_queue::NotTaken;
use crate::key_manager::pkcs11::key_copies::KeyCopies;
use crate::key_manager::pkcs11::module::{HANG_LIMIT, Module};
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::thread_session::ThreadSession;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::vault::Vault;
use crate::key_manager::pkcs11::watcher::{Command, Progress, Watcher};
use crate::key_manager::pkcs11::worker::{Busy, JobSource, Worker};
use crate::secret::SecretBytes;

/// A watcher that hangs does not collect work for later.
const COMMANDS_MAX: usize = 4;
/// So much of the work of a cluster may wait for the watcher, and as many searches for a key.
const ORDERS_MAX: usize = 16;

pub(super) struct Threads {
    shared: Arc<Shared>,
    token: Arc<Token>,
    vault: Arc<Vault>,
    commands: Sender<Command>,
    orders: Sender<Order>,
    /// Apart from other orders, so that requests cannot keep anybody from logging out.
    searches: Sender<Order>,
    workers: Vec<Arc<Busy>>,
}

impl Threads {
    /// Starts the threads. Nothing has been asked of the token yet.
    pub(super) fn start(
        shared: Arc<Shared>,
        module: Arc<Module>,
        pin: Option<&SecretBytes>,
        source: &dyn JobSource,
    ) -> std::io::Result<Self> {
        let (commands, command_receiver) = crossbeam_channel::bounded(COMMANDS_MAX);
        let (orders, order_receiver) = crossbeam_channel::bounded(ORDERS_MAX);
        let (searches, search_receiver) = crossbeam_channel::bounded(ORDERS_MAX);
        let token = Arc::new(Token::new(shared.config.clone(), module, pin));
        let health_object = Arc::new(ArcSwapOption::<KeyObject>::empty());
        let (metrics, clock) = (Arc::clone(&shared.metrics), Arc::clone(&shared.clock));
        let vault = Arc::new(Vault::new(Arc::clone(&token), metrics, clock));
        let copies = Arc::new(KeyCopies::new(Arc::clone(&token), Arc::clone(&shared.clock)));
        let epoch = shared.clock.instant();
        let workers: Vec<_> = (0..shared.config.sessions).map(|_| Arc::new(Busy::new(epoch))).collect();
        for (number, busy) in workers.iter().enumerate() {
            let worker = Worker {
                shared: Arc::clone(&shared),
                lane: source.lane(&vault),
                token: Arc::clone(&token),
                session: ThreadSession::new(Arc::clone(&token), Some(shared.metrics.sessions.clone())),
                vault: Arc::clone(&vault),
                copies: Arc::clone(&copies),
                health_object: Arc::clone(&health_object),
                busy: Arc::clone(busy),
                login: 0,
            };
            let name = format!("{}-{number}", shared.name);
            thread::Builder::new().name(name).spawn(move || worker.run())?;
        }
        let watcher = Watcher {
            shared: Arc::clone(&shared),
            token: Arc::clone(&token),
            session: ThreadSession::new(Arc::clone(&token), None),
            copies,
            health_object,
            commands: command_receiver,
            orders: order_receiver,
            searches: search_receiver,
            progress: Progress::default(),
        };
        thread::Builder::new().name(format!("{}-watcher", shared.name)).spawn(move || watcher.run())?;
        Ok(Self { shared, token, vault, commands, orders, searches, workers })
    }
}

/// What only the process with the library can know.
impl Threads {
    /// The PIN that there is now was refused before.
    pub(super) fn reject_pin(&self) {
        self.token.reject_pin();
    }

    /// The root key that serves, if it is open.
    pub(super) fn open_root_key(&self) -> Option<RootKeyId> {
        self.vault.open_id()
    }

    pub(super) fn known_capabilities(&self) -> Option<Arc<Capabilities>> {
        self.vault.known_capabilities()
    }
}

impl Engine for Threads {
    /// Whoever is idle waits at the queue.
    fn job_arrived(&self) {}

    fn sessions_stuck(&self, now: Instant) -> usize {
        self.workers.iter().filter(|busy| busy.is_stuck(now, HANG_LIMIT)).count()
    }

    fn command(&self, command: Command) -> Result<(), NotTaken> {
        self.commands.try_send(command).map_err(NotTaken::from)
    }

    fn order(&self, order: Order) -> Result<(), NotTaken> {
        let queue = if matches!(order, Order::ReadKey { .. }) { &self.searches } else { &self.orders };
        queue.try_send(order).map_err(NotTaken::from)
    }

    fn is_connected(&self) -> bool {
        self.token.is_connected()
    }

    fn disconnect(&self) {
        self.token.disconnect();
    }

    fn offer_pin(&self, pin: &SecretBytes, reinitialize: bool) {
        self.token.offer_pin(pin, reinitialize);
    }

    fn replace_pin(&self, pin: &SecretBytes, soon: bool) {
        if soon {
            self.token.replace_pin_soon(pin);
        } else {
            self.token.replace_pin(pin);
        }
    }

    fn is_pin_rejected(&self) -> bool {
        self.token.is_pin_rejected()
    }

    fn library(&self) -> Option<&Arc<Module>> {
        Some(&self.token.module)
    }

    fn want_root_keys(&self, keys: RootKeys) {
        self.vault.want(keys);
    }

    fn is_root_key_wanted(&self) -> bool {
        self.vault.is_wanted()
    }

    fn is_root_key_open(&self) -> bool {
        self.vault.is_open()
    }

    fn capabilities(&self) -> Arc<Capabilities> {
        self.vault.capabilities()
    }

    fn interruption(&self, _: Instant) -> Option<Interruption> {
        None
    }

    /// Whoever reads it offers the PIN.
    fn pin_file_changed(&self) {}

    /// Whoever has the library finalizes it.
    fn stop(&self, _: Duration) -> bool {
        true
    }

    /// Removes it from the token soon; if the queue is full, when another key is unwrapped.
    fn discard(&self, material: &MaterialId) {
        if self.vault.discard(material) {
            self.shared.keep_house(BackingTask::Sweep(None));
        }
    }
}

impl<T> From<TrySendError<T>> for NotTaken {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Disconnected(_) => Self::Closed,
        }
    }
}
