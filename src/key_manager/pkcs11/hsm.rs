//! One HSM as the async side sees it: a bounded queue with deadlines, an inventory, a health state.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::config;
use crate::domain::kms::MaterialId;
use crate::key_manager::cluster::ClusterError;
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::alarm::Alarm;
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::fault::Fault;
use crate::key_manager::pkcs11::health::{Health, Stuck};
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::module::{HANG_LIMIT, Module};
use crate::key_manager::pkcs11::orders::{Order, Reply};
use crate::key_manager::pkcs11::thread_session::ThreadSession;
use crate::key_manager::pkcs11::token::{Product, Token};
use crate::key_manager::pkcs11::vault::Vault;
use crate::key_manager::pkcs11::watcher::{Command, Progress, Watcher};
use crate::key_manager::pkcs11::worker::{Busy, Completed, Job, Output, Task, Worker};
use crate::key_manager::{HealthState, HsmError, Lookup, MemberHealth};
use crate::metrics::HsmMetrics;
use crate::secret::SecretBytes;

/// A search of the token is linear in its keys; unknown ids must not become a way to keep it busy.
pub(super) const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Reading ten thousand keys of a slow HSM takes its time.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(20);
/// A watcher that hangs does not collect work for later.
const COMMANDS_MAX: usize = 4;

/// So much of the work of a cluster may wait for the watcher, and as many searches for a key.
const ORDERS_MAX: usize = 16;

/// What is needed to start an HSM.
pub struct HsmParts {
    pub config: config::Hsm,
    /// Absent for the member of a cluster: nobody logs in before its key store is connected.
    pub pin: Option<SecretBytes>,
    pub module: Arc<Module>,
    pub metrics: HsmMetrics,
    pub clock: Arc<dyn Clock>,
    /// Encryptions counted in earlier runs, by ledger name.
    pub invocations: HashMap<String, u64>,
}

/// One token, its worker threads and its watcher.
pub struct Hsm {
    name: Arc<str>,
    token: Arc<Token>,
    vault: Arc<Vault>,
    jobs: Sender<Job>,
    commands: Sender<Command>,
    orders: Sender<Order>,
    /// Apart from other orders, so that requests cannot keep anybody from logging out.
    searches: Sender<Order>,
    inventory: Arc<ArcSwap<Inventory>>,
    workers: Vec<Arc<Busy>>,
    health: ArcSwap<Health>,
    last_refresh: Mutex<Option<Refresh>>,
    alarm: Arc<Alarm>,
    metrics: Arc<HsmMetrics>,
    clock: Arc<dyn Clock>,
}

/// A reading of the keys, under way or done: everybody who asked meanwhile waits for the same one.
#[derive(Clone)]
pub(super) struct Refresh {
    started: Instant,
    outcome: watch::Receiver<Option<Result<(), Fault>>>,
}

/// Something that the watcher does, or skips if this is dropped before its turn.
pub(super) struct Ordered<T>(Result<oneshot::Receiver<Result<T, Fault>>, HsmError>);

impl Hsm {
    /// Starts the threads. Nothing has been asked of the token yet: probe it next.
    pub fn start(parts: HsmParts) -> std::io::Result<Arc<Self>> {
        let HsmParts { config, pin, module, metrics, clock, invocations } = parts;
        let (jobs, job_receiver) = crossbeam_channel::bounded(config.queue_length_max);
        let (commands, command_receiver) = crossbeam_channel::bounded(COMMANDS_MAX);
        let (orders, order_receiver) = crossbeam_channel::bounded(ORDERS_MAX);
        let (searches, search_receiver) = crossbeam_channel::bounded(ORDERS_MAX);
        let name: Arc<str> = Arc::from(config.name.as_str());
        let sessions = config.sessions;
        let token = Arc::new(Token::new(config, module, pin.as_ref()));
        let inventory = Arc::new(ArcSwap::from_pointee(Inventory::with_invocations(invocations)));
        let health_object = Arc::new(ArcSwapOption::<KeyObject>::empty());
        let metrics = Arc::new(metrics);
        let alarm = Arc::new(Alarm::default());
        let vault = Arc::new(Vault::new(Arc::clone(&token), Arc::clone(&metrics), Arc::clone(&clock)));
        let workers: Vec<_> = (0..sessions).map(|_| Arc::new(Busy::new(clock.instant()))).collect();
        for (number, busy) in workers.iter().enumerate() {
            let worker = Worker {
                token: Arc::clone(&token),
                session: ThreadSession::new(Arc::clone(&token), Some(metrics.sessions.clone())),
                vault: Arc::clone(&vault),
                health_object: Arc::clone(&health_object),
                jobs: job_receiver.clone(),
                busy: Arc::clone(busy),
                metrics: Arc::clone(&metrics),
                clock: Arc::clone(&clock),
                alarm: Arc::clone(&alarm),
                login: 0,
            };
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || worker.run())?;
        }
        let watcher = Watcher {
            token: Arc::clone(&token),
            session: ThreadSession::new(Arc::clone(&token), None),
            inventory: Arc::clone(&inventory),
            health_object,
            commands: command_receiver,
            orders: order_receiver,
            searches: search_receiver,
            alarm: Arc::clone(&alarm),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            progress: Progress::default(),
        };
        thread::Builder::new().name(format!("{name}-watcher")).spawn(move || watcher.run())?;
        metrics.set_state(HealthState::Unavailable.as_str(), HealthState::ALL);
        Ok(Arc::new(Self {
            name,
            token,
            vault,
            jobs,
            commands,
            orders,
            searches,
            inventory,
            workers,
            health: ArcSwap::from_pointee(Health::unknown()),
            last_refresh: Mutex::new(None),
            alarm,
            metrics,
            clock,
        }))
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn inventory(&self) -> Arc<Inventory> {
        self.inventory.load_full()
    }

    /// Looks an external key up in memory. The health key is none: its log should show probes only (XKS v1,
    /// GetHealthStatus).
    pub(super) fn find(&self, external_key_id: &str) -> Lookup {
        if external_key_id == self.token.config.health_key {
            return Lookup::Missing;
        }
        self.inventory.load().find(external_key_id)
    }

    /// Encryptions counted for keys that are not in the token now.
    pub fn unclaimed_invocations(&self) -> Vec<(String, u64)> {
        self.inventory.load().unclaimed_invocations().collect()
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Whether somebody wants it to be logged in.
    pub fn is_connected(&self) -> bool {
        self.token.is_connected()
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Removes an unwrapped key from the token soon; if the queue is full, when another key is unwrapped.
    pub(super) fn forget(&self, material: &MaterialId) {
        if self.vault.discard(material) {
            let (reply, _) = oneshot::channel();
            let enqueued = self.clock.instant();
            let task = Task::Backing(BackingTask::Sweep);
            let _ = self.jobs.try_send(Job { task, enqueued, deadline: enqueued + REFRESH_TIMEOUT, reply });
        }
    }

    /// How many jobs run at once.
    pub(super) fn sessions(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn queue_length(&self) -> usize {
        self.jobs.len()
    }

    /// Completes when somebody saw a fault since the last call.
    pub async fn alarmed(&self) {
        self.alarm.raised().await;
    }

    /// Puts a job into the queue and waits for its answer, at most until the deadline. A hung library costs
    /// the caller no more than that, and nothing once all sessions hang.
    pub(super) async fn run(
        &self,
        task: Task,
        deadline: Instant,
    ) -> Result<(Output, Duration, Duration), (HsmError, Duration, Duration)> {
        let none = (Duration::ZERO, Duration::ZERO);
        let now = self.clock.instant();
        if self.stuck_workers(now) == self.workers.len() {
            return Err((HsmError::DeadlineExceeded, none.0, none.1));
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { task, enqueued: now, deadline, reply };
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err((HsmError::Busy, none.0, none.1)),
            Err(TrySendError::Disconnected(_)) => return Err((stopped(), none.0, none.1)),
        }
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(Completed { result: Ok(output), queue_wait, hsm_time })) => {
                Ok((output, queue_wait, hsm_time))
            }
            Ok(Ok(Completed { result: Err(error), queue_wait, hsm_time })) => {
                Err((error, queue_wait, hsm_time))
            }
            // Dropped unanswered: the worker found it past its deadline.
            Ok(Err(_)) | Err(_) => Err((HsmError::DeadlineExceeded, none.0, none.1)),
        }
    }

    /// Probes the HSM and takes up the result. A probe that does not return in time makes it UNAVAILABLE.
    pub async fn probe(&self, timeout: Duration) {
        // One thread does both, and reading many keys of a slow HSM is no sign of illness.
        let refresh = self.last_refresh.lock().clone();
        if let Some(refresh) = refresh {
            let _ = tokio::time::timeout(REFRESH_TIMEOUT, refresh.wait()).await;
        }
        let (reply, answer) = oneshot::channel();
        let outcome = match self.commands.try_send(Command::Probe(reply)) {
            // Full: earlier probes have not returned either.
            Ok(()) | Err(TrySendError::Full(_)) => tokio::time::timeout(timeout, answer).await,
            Err(TrySendError::Disconnected(_)) => return,
        };
        let (before, now) = (self.health.load(), self.clock.instant());
        self.set_health(match outcome {
            // What else was found out does not count any more.
            _ if !self.token.is_connected() => before.disconnected(now),
            Ok(Ok(Ok(vitals))) => {
                self.metrics.probe_duration.observe(vitals.duration.as_secs_f64());
                self.metrics
                    .probe_timestamp
                    .set(i64::try_from(self.clock.unix_seconds()).unwrap_or(i64::MAX));
                Health::passed(vitals, now)
            }
            Ok(Ok(Err(fault))) => before.failed(fault.what, now),
            Ok(Err(_)) => before.failed("earlier probes have not returned".to_owned(), now),
            Err(_) => before.failed(format!("no answer to a probe within {} ms", timeout.as_millis()), now),
        });
    }

    /// A change of state is logged with the HSM's name (XKS v1, Logging).
    fn set_health(&self, health: Health) {
        let before = self.health.load().state;
        let (hsm, state) = (&self.name, health.state.as_str());
        if before != health.state {
            let reason = health.reason.as_deref().unwrap_or("probe passed");
            match health.state {
                HealthState::Active => tracing::info!(%hsm, state, "HSM {hsm} is {state}: {reason}"),
                HealthState::Degraded => {
                    tracing::warn!(%hsm, state, reason, "HSM {hsm} is {state}: {reason}")
                }
                HealthState::Unavailable if health.is_disconnected => {
                    tracing::info!(%hsm, state, "HSM {hsm} is {state}: {reason}")
                }
                HealthState::Unavailable => {
                    tracing::error!(%hsm, state, reason, "HSM {hsm} is {state}: {reason}")
                }
            }
        }
        self.health.store(Arc::new(health));
        self.publish();
    }

    /// Sets the gauges that no event sets.
    pub fn publish(&self) {
        let now = self.clock.instant();
        self.metrics.set_state(self.condition(now).0.as_str(), HealthState::ALL);
        self.metrics.queue_length.set(i64::try_from(self.jobs.len()).unwrap_or(i64::MAX));
        self.metrics.sessions_stuck.set(i64::try_from(self.stuck_workers(now)).unwrap_or(i64::MAX));
    }

    pub fn health(&self) -> MemberHealth {
        let (state, reason) = self.condition(self.clock.instant());
        let Product { vendor, model } = self.health.load().product.clone();
        MemberHealth { id: self.name.to_string(), vendor, model, state, reason }
    }

    /// The state now, and why it is not ACTIVE.
    fn condition(&self, now: Instant) -> (HealthState, Option<String>) {
        let stuck = Stuck { workers: self.stuck_workers(now), of: self.workers.len() };
        self.health.load().at(now, stuck)
    }

    /// Has the watcher do something.
    pub(super) fn order<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Ordered<T> {
        let (reply, answer) = oneshot::channel();
        let order = order(reply);
        let queue = if matches!(order, Order::ReadKey { .. }) { &self.searches } else { &self.orders };
        let sent = queue.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => HsmError::Busy,
            TrySendError::Disconnected(_) => stopped(),
        });
        Ordered(sent.map(|()| answer))
    }

    pub(super) fn shares_module(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.token.module, &other.token.module)
    }

    /// Nobody uses a session from now on; the watcher ends them.
    pub(super) fn disconnect(&self) {
        self.token.disconnect();
        let disconnected = self.health.load().disconnected(self.clock.instant());
        self.set_health(disconnected);
    }

    fn stuck_workers(&self, now: Instant) -> usize {
        self.workers.iter().filter(|busy| busy.is_stuck(now, HANG_LIMIT)).count()
    }

    /// Reads the keys again, at once; if that fails, as soon as the HSM is back.
    pub async fn refresh(&self) -> Result<(), HsmError> {
        let refresh = self.join_refresh(Duration::ZERO);
        let result = match tokio::time::timeout(REFRESH_TIMEOUT, refresh.wait()).await {
            Ok(result) => result,
            Err(_) => Err(HsmError::DeadlineExceeded),
        };
        if result.is_err() {
            self.alarm.raise_for_keys();
        }
        result
    }

    /// Reads the keys again, unless that was done a moment ago: then what it found still counts. An HSM that is
    /// out of service is not asked.
    pub(super) fn refresh_for_miss(&self) -> Result<Refresh, HsmError> {
        match self.condition(self.clock.instant()) {
            (HealthState::Unavailable, reason) => Err(HsmError::Unavailable(reason.unwrap_or_default())),
            (HealthState::Active | HealthState::Degraded, _) => Ok(self.join_refresh(REFRESH_INTERVAL_MIN)),
        }
    }

    /// A reading of the keys that started not longer ago than `age_max`, or else a new one.
    fn join_refresh(&self, age_max: Duration) -> Refresh {
        let now = self.clock.instant();
        let mut last = self.last_refresh.lock();
        match &*last {
            Some(last) if now.saturating_duration_since(last.started) < age_max => last.clone(),
            _ => {
                let (sender, outcome) = watch::channel(None);
                // A full queue drops the sender, which the waiting side notices.
                let _ = self.commands.try_send(Command::Refresh(sender));
                last.insert(Refresh { started: now, outcome }).clone()
            }
        }
    }

    /// Uses another PIN from the next probe on, which is now.
    pub fn set_pin(&self, pin: &SecretBytes) {
        self.offer_pin(pin, true);
    }

    /// The same; the library need not be initialized for it if another token did that already.
    pub(super) fn offer_pin(&self, pin: &SecretBytes, reinitialize: bool) {
        self.token.offer_pin(pin, reinitialize);
        self.alarm.raise();
    }
}

impl Refresh {
    pub(super) async fn wait(mut self) -> Result<(), HsmError> {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        match outcome.as_deref() {
            Ok(Some(Err(fault))) => Err(HsmError::Unavailable(fault.what.clone())),
            Ok(_) => Ok(()),
            Err(_) => Err(HsmError::Unavailable("the HSM is busy with earlier probes".to_owned())),
        }
    }
}

impl<T> Ordered<T> {
    /// Waits at most until the deadline.
    pub(super) async fn answer(self, deadline: Instant) -> Result<T, ClusterError> {
        match tokio::time::timeout_at(deadline.into(), self.0?).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => Err(stopped().into()),
            Err(_) => Err(HsmError::DeadlineExceeded.into()),
        }
    }
}

fn stopped() -> HsmError {
    HsmError::Unavailable("the HSM is stopped".to_owned())
}
