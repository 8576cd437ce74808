//! What makes the PKCS#11 calls of one HSM, and what the async side shares with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::config;
use crate::domain::kms::MaterialId;
use crate::key_manager::backing_key::RootKeys;
use crate::key_manager::pkcs11::alarm::Alarm;
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::capabilities::Capabilities;
use crate::key_manager::pkcs11::fitness::Fitness;
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::job_queue::{Arrival, Flow, JobQueue, NotTaken};
use crate::key_manager::pkcs11::module::Module;
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::reply::JobReply;
use crate::key_manager::pkcs11::watcher::Command;
use crate::key_manager::pkcs11::worker::{Job, Task};
use crate::metrics::HsmMetrics;
use crate::secret::SecretBytes;

/// Nobody waits for discarded keys to be destroyed.
const HOUSEKEEPING_TIMEOUT: Duration = Duration::from_secs(20);
/// Not the name of a key store.
const HOUSEKEEPING: &str = "";

/// Both sides of one HSM have it.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) config: config::Hsm,
    /// What it has in hand, and how it has done.
    pub(super) fitness: Arc<Fitness>,
    /// What waits for a session.
    pub(super) jobs: JobQueue,
    /// The keys as they were read last; the engine replaces it.
    pub(super) inventory: ArcSwap<Inventory>,
    pub(super) alarm: Alarm,
    pub(super) metrics: Arc<HsmMetrics>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Shared {
    pub(super) fn new(
        config: config::Hsm,
        (metrics, clock): (HsmMetrics, Arc<dyn Clock>),
        invocations: HashMap<String, u64>,
    ) -> Arc<Self> {
        let (name, metrics) = (Arc::<str>::from(config.name.as_str()), Arc::new(metrics));
        Arc::new(Self {
            fitness: Arc::new(Fitness::new(Arc::clone(&name), Arc::clone(&metrics), Arc::clone(&clock))),
            name,
            jobs: JobQueue::new(config.queue_length_max),
            inventory: ArcSwap::from_pointee(Inventory::with_invocations(invocations)),
            alarm: Alarm::default(),
            metrics,
            config,
            clock,
        })
    }

    /// Puts a task into the queue that nobody waits for.
    pub(super) fn keep_house(&self, task: BackingTask) {
        let task = Task::Backing(task);
        let now = self.clock.instant();
        let cost = self.fitness.cost(task.class());
        let (reply, _) = JobReply::new(self.fitness.ticket(task.class(), now));
        let job = Job { task, enqueued: now, deadline: now + HOUSEKEEPING_TIMEOUT, reply };
        let sessions = self.config.sessions;
        let _ = self.jobs.push(job, Arrival { flow: Flow::of(HOUSEKEEPING), now, cost, sessions });
    }
}

/// Takes jobs out of the queue, and does what it is told. Nothing here waits for the HSM.
pub(super) trait Engine: Send + Sync {
    /// A job was put into the queue.
    fn job_arrived(&self);

    /// How many sessions have been in one call for longer than it may take.
    fn sessions_stuck(&self, now: Instant) -> usize;

    /// The answer comes by what the command carries.
    fn command(&self, command: Command) -> Result<(), NotTaken>;

    /// The same, for what a cluster wants.
    fn order(&self, order: Order) -> Result<(), NotTaken>;

    /// Whether somebody wants the token to be logged in.
    fn is_connected(&self) -> bool;

    /// Forgets the PIN; from now on nobody uses a session.
    fn disconnect(&self);

    /// Another PIN to log in with; `reinitialize` if the library may know the former one only.
    fn offer_pin(&self, pin: &SecretBytes, reinitialize: bool);

    /// The token has another PIN already; `soon` if the library may not know it yet.
    fn replace_pin(&self, pin: &SecretBytes, soon: bool);

    /// Whether the token refused the PIN that there is now.
    fn is_pin_rejected(&self) -> bool;

    /// The library, if it is in this process: others may use it too.
    fn library(&self) -> Option<&Arc<Module>>;

    /// From now on these root keys serve, as soon as the token has them.
    fn want_root_keys(&self, keys: RootKeys);

    /// Whether a root key was asked for.
    fn is_root_key_wanted(&self) -> bool;

    /// Whether the current root key has proven itself.
    fn is_root_key_open(&self) -> bool;

    /// What the token can do; before a root key was opened, perhaps everything.
    fn capabilities(&self) -> Arc<Capabilities>;

    /// An unwrapped key is not needed any more.
    fn discard(&self, material: &MaterialId);

    /// Why no job can be done now, if so.
    fn interruption(&self, now: Instant) -> Option<Interruption>;

    /// The file of the PIN may be another than before.
    fn pin_file_changed(&self);

    /// Ends what can be ended; whether that was all within this time.
    fn stop(&self, patience: Duration) -> bool;
}

/// There is nobody to do jobs.
#[derive(Clone, Debug)]
pub(super) struct Interruption {
    pub(super) reason: String,
    /// Jobs may wait for the end of it.
    pub(super) is_brief: bool,
}
