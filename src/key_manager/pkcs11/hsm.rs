//! One HSM as the async side sees it: a bounded queue with deadlines, an inventory, a health state.

mod requests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{oneshot, watch};
use tokio::time::error::Elapsed;

use crate::clock::Clock;
use crate::config;
use crate::config::private_file::FileVersion;
use crate::key_manager::cluster::ClusterError;
use crate::key_manager::pkcs11::breaker::BreakerState;
use crate::key_manager::pkcs11::engine::{Engine, Interruption, Shared};
use crate::key_manager::pkcs11::fault::Fault;
use crate::key_manager::pkcs11::fitness::Fitness;
use crate::key_manager::pkcs11::health::{Health, Stuck};
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::job_queue::NotTaken;
use crate::key_manager::pkcs11::module::{HANG_LIMIT, Module};
use crate::key_manager::pkcs11::orders::{Order, Reply};
use crate::key_manager::pkcs11::threads::Threads;
use crate::key_manager::pkcs11::token::Product;
use crate::key_manager::pkcs11::watcher::{Command, Vitals};
use crate::key_manager::{HealthState, HsmError, Lookup, MemberHealth};
use crate::metrics::HsmMetrics;
use crate::secret::SecretBytes;

/// A search of the token is linear in its keys; unknown ids must not become a way to keep it busy.
pub(super) const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Reading ten thousand keys of a slow HSM takes its time.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(20);
/// For the probe of an HSM that answers nothing else: requests wait for what comes of it.
const SUSPECT_PROBE_LIMIT: Duration = Duration::from_millis(100);

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

/// One token, and what makes its PKCS#11 calls.
pub struct Hsm {
    shared: Arc<Shared>,
    engine: Box<dyn Engine>,
    health: ArcSwap<Health>,
    last_refresh: Mutex<Option<Refresh>>,
    /// Of the PIN that was taken last.
    pin_version: Mutex<Option<FileVersion>>,
    /// Somebody waits for it, so that the next probe has little time.
    is_suspect: AtomicBool,
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
        let shared = Shared::new(config, (metrics, clock), invocations);
        let engine = Threads::start(Arc::clone(&shared), module, pin.as_ref(), &shared)?;
        Ok(Self::over(shared, Box::new(engine)))
    }

    pub(super) fn over(shared: Arc<Shared>, engine: Box<dyn Engine>) -> Arc<Self> {
        let state = engine.is_connected().then_some(HealthState::Unavailable);
        shared.metrics.set_state(state.map(HealthState::as_str), HealthState::ALL);
        let pin_version = shared.config.pin_version().ok().flatten();
        Arc::new(Self {
            shared,
            engine,
            health: ArcSwap::from_pointee(Health::unknown()),
            last_refresh: Mutex::new(None),
            pin_version: Mutex::new(pin_version),
            is_suspect: AtomicBool::new(false),
        })
    }

    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    pub fn inventory(&self) -> Arc<Inventory> {
        self.shared.inventory.load_full()
    }

    /// Looks an external key up in memory. The health key is none: its log should show probes only (XKS v1,
    /// GetHealthStatus).
    pub(super) fn find(&self, external_key_id: &str) -> Lookup {
        if external_key_id == self.shared.config.health_key {
            return Lookup::Missing;
        }
        self.shared.inventory.load().find(external_key_id)
    }

    /// Encryptions counted for keys that are not in the token now.
    pub fn unclaimed_invocations(&self) -> Vec<(String, u64)> {
        self.shared.inventory.load().unclaimed_invocations().collect()
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Whether somebody wants it to be logged in.
    pub fn is_connected(&self) -> bool {
        self.engine.is_connected()
    }

    /// How many jobs run at once.
    pub(super) fn sessions(&self) -> usize {
        self.shared.config.sessions
    }

    pub(super) fn queue_length(&self) -> usize {
        self.shared.jobs.len()
    }

    /// Completes when somebody saw a fault since the last call, or it is taken out.
    pub async fn alarmed(&self) {
        tokio::select! {
            () = self.shared.alarm.raised() => {}
            () = self.fitness().taken_out() => {}
        }
    }

    pub(super) fn fitness(&self) -> &Arc<Fitness> {
        &self.shared.fitness
    }

    /// It may hang: a probe will tell, at once.
    pub(super) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Release);
        self.shared.alarm.raise();
    }

    pub fn is_suspect(&self) -> bool {
        self.is_suspect.load(Ordering::Acquire)
    }

    /// Whether it is probed often, to be back in service soon.
    pub fn is_down(&self) -> bool {
        let is_taken_out = match self.fitness().breaker().0 {
            BreakerState::Open | BreakerState::Quarantined => true,
            BreakerState::Closed | BreakerState::HalfOpen => false,
        };
        self.is_connected() && (is_taken_out || self.health().state == HealthState::Unavailable)
    }

    /// Probes the HSM and takes up the result. A probe that does not return in time makes it UNAVAILABLE.
    pub async fn probe(&self, timeout: Duration) {
        // One thread does both, and reading many keys of a slow HSM is no sign of illness.
        let refresh = self.last_refresh.lock().clone();
        if let Some(refresh) = refresh {
            let _ = tokio::time::timeout(REFRESH_TIMEOUT, refresh.wait()).await;
        }
        let (reply, answer) = oneshot::channel();
        let outcome = match self.engine.command(Command::Probe(reply)) {
            // Full: earlier probes have not returned either.
            Ok(()) | Err(NotTaken::Full) => self.wait_for_probe(answer, timeout).await,
            Err(NotTaken::Closed) => return,
        };
        let (before, now) = (self.health.load(), self.shared.clock.instant());
        self.set_health(match outcome {
            // What else was found out does not count any more.
            _ if !self.engine.is_connected() => before.disconnected(now),
            Ok(Ok(Ok(vitals))) => {
                self.fitness().probe_passed();
                self.shared.metrics.probe_duration.observe(vitals.duration.as_secs_f64());
                self.shared
                    .metrics
                    .probe_timestamp
                    .set(i64::try_from(self.shared.clock.unix_seconds()).unwrap_or(i64::MAX));
                Health::passed(vitals, now)
            }
            Ok(Ok(Err(fault))) => self.probe_failed(fault.what, now),
            Ok(Err(_)) => self.probe_failed("earlier probes have not returned".to_owned(), now),
            Err(_) => self.probe_failed(no_answer(timeout), now),
        });
    }

    fn probe_failed(&self, reason: String, now: Instant) -> Health {
        self.fitness().probe_failed(&reason);
        self.health.load().failed(reason, now)
    }

    /// Requests do not wait for what the probe comes to if the HSM answers nothing else either.
    async fn wait_for_probe(
        &self,
        mut answer: oneshot::Receiver<Result<Vitals, Fault>>,
        timeout: Duration,
    ) -> Result<Result<Result<Vitals, Fault>, RecvError>, Elapsed> {
        let is_suspect = self.is_suspect.swap(false, Ordering::AcqRel);
        let brief = timeout.min(if is_suspect { SUSPECT_PROBE_LIMIT } else { HANG_LIMIT });
        let started = self.shared.clock.instant();
        if let Ok(outcome) = tokio::time::timeout(brief, &mut answer).await {
            return Ok(outcome);
        }
        if self.is_connected() && self.fitness().is_silent_since(started) {
            self.fitness().probe_failed(&no_answer(brief));
        }
        tokio::time::timeout(timeout - brief, answer).await
    }

    /// A change of state is logged with the HSM's name (XKS v1, Logging).
    fn set_health(&self, health: Health) {
        let before = self.health.load().state;
        let (hsm, state) = (self.name(), health.state.as_str());
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
        let now = self.shared.clock.instant();
        // Who is logged out because nobody wants it logged in is in no state: that is no trouble.
        let state = self.engine.is_connected().then(|| self.condition(now).0);
        self.shared.metrics.set_state(state.map(HealthState::as_str), HealthState::ALL);
        self.shared.metrics.queue_length.set(i64::try_from(self.queue_length()).unwrap_or(i64::MAX));
        self.shared
            .metrics
            .sessions_stuck
            .set(i64::try_from(self.engine.sessions_stuck(now)).unwrap_or(i64::MAX));
    }

    pub fn health(&self) -> MemberHealth {
        let (state, reason) = self.condition(self.shared.clock.instant());
        let Product { vendor, model } = self.health.load().product.clone();
        MemberHealth { id: self.name().to_string(), vendor, model, state, reason }
    }

    /// The state now, and why it is not ACTIVE.
    fn condition(&self, now: Instant) -> (HealthState, Option<String>) {
        if self.engine.is_connected()
            && let Some(Interruption { reason, .. }) = self.engine.interruption(now)
        {
            let health = self.health.load();
            let known = health.reason.clone().filter(|_| health.state == HealthState::Unavailable);
            return (HealthState::Unavailable, Some(known.unwrap_or(reason)));
        }
        let stuck = Stuck { workers: self.engine.sessions_stuck(now), of: self.sessions() };
        let (state, reason) = self.health.load().at(now, stuck);
        let (breaker, why) = self.fitness().breaker();
        let limit = match breaker {
            BreakerState::Closed | BreakerState::HalfOpen => return (state, reason),
            BreakerState::Open => HealthState::Degraded,
            BreakerState::Quarantined => HealthState::Unavailable,
        };
        if state <= limit { (state, reason) } else { (limit, Some(why)) }
    }

    /// Has the watcher do something.
    pub(super) fn order<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Ordered<T> {
        let (reply, answer) = oneshot::channel();
        let order = order(reply);
        let sent = self.engine.order(order).map_err(|error| match error {
            NotTaken::Full => HsmError::Busy,
            NotTaken::Closed => stopped(),
        });
        Ordered(sent.map(|()| answer))
    }

    pub(super) fn shares_module(&self, other: &Self) -> bool {
        self.engine
            .library()
            .zip(other.engine.library())
            .is_some_and(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
    }

    /// Nobody uses a session from now on; the watcher ends them.
    pub(super) fn disconnect(&self) {
        self.engine.disconnect();
        let disconnected = self.health.load().disconnected(self.shared.clock.instant());
        self.set_health(disconnected);
    }

    /// Reads the keys again, at once; if that fails, as soon as the HSM is back.
    pub async fn refresh(&self) -> Result<(), HsmError> {
        let refresh = self.join_refresh(Duration::ZERO);
        let result = match tokio::time::timeout(REFRESH_TIMEOUT, refresh.wait()).await {
            Ok(result) => result,
            Err(_) => Err(HsmError::DeadlineExceeded),
        };
        if result.is_err() {
            self.shared.alarm.raise_for_keys();
        }
        result
    }

    /// Reads the keys again, unless that was done a moment ago: then what it found still counts. An HSM that is
    /// out of service is not asked.
    pub(super) fn refresh_for_miss(&self) -> Result<Refresh, HsmError> {
        match self.condition(self.shared.clock.instant()) {
            (HealthState::Unavailable, reason) => Err(HsmError::Unavailable(reason.unwrap_or_default())),
            (HealthState::Active | HealthState::Degraded, _) => Ok(self.join_refresh(REFRESH_INTERVAL_MIN)),
        }
    }

    /// A reading of the keys that started not longer ago than `age_max`, or else a new one.
    fn join_refresh(&self, age_max: Duration) -> Refresh {
        let now = self.shared.clock.instant();
        let mut last = self.last_refresh.lock();
        match &*last {
            Some(last) if now.saturating_duration_since(last.started) < age_max => last.clone(),
            _ => {
                let (sender, outcome) = watch::channel(None);
                // A full queue drops the sender, which the waiting side notices.
                let _ = self.engine.command(Command::Refresh(sender));
                last.insert(Refresh { started: now, outcome }).clone()
            }
        }
    }

    /// Uses another PIN from the next probe on, which is now.
    pub fn set_pin(&self, pin: &SecretBytes) {
        *self.pin_version.lock() = self.shared.config.pin_version().ok().flatten();
        self.offer_pin(pin, true);
    }

    /// Whether the PIN that was refused shall be tried once more: whoever touches its file wants that. Says so once.
    pub fn take_pin_demand(&self) -> bool {
        let version = self.shared.config.pin_version().ok().flatten();
        let former = std::mem::replace(&mut *self.pin_version.lock(), version);
        self.engine.is_pin_rejected() && former != version
    }

    /// The same; the library need not be initialized for it if another token did that already.
    pub(super) fn offer_pin(&self, pin: &SecretBytes, reinitialize: bool) {
        self.engine.offer_pin(pin, reinitialize);
        self.shared.alarm.raise();
    }
}

impl Drop for Hsm {
    fn drop(&mut self) {
        self.shared.jobs.close();
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

fn no_answer(within: Duration) -> String {
    format!("no answer to a probe within {} ms", within.as_millis())
}

fn stopped() -> HsmError {
    HsmError::Unavailable("the HSM is stopped".to_owned())
}
