//! One HSM as the async side sees it: a bounded queue with deadlines, an inventory, a health state.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;
use crate::config;
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::module::Module;
use crate::key_manager::pkcs11::token::{Product, Token};
use crate::key_manager::pkcs11::watcher::{Command, Watcher};
use crate::key_manager::pkcs11::worker::{Busy, Completed, Job, Output, Task, Worker};
use crate::key_manager::{HealthState, HsmError, MemberHealth};
use crate::metrics::HsmMetrics;
use crate::secret::SecretBytes;

/// XKS v1, GetHealthStatus: a cached result may be at most one minute old.
const HEALTH_AGE_MAX: Duration = Duration::from_secs(60);
/// A probe slower than this leaves little of the 250 ms: the HSM is degraded.
const SLOW_PROBE: Duration = Duration::from_millis(100);
/// A search of the token is linear in its keys; unknown ids must not become a way to keep it busy.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(5);

/// What is needed to start an HSM.
pub struct HsmParts {
    pub config: config::Hsm,
    pub pin: SecretBytes,
    pub module: Arc<Module>,
    pub metrics: HsmMetrics,
    pub clock: Arc<dyn Clock>,
    /// Encryptions counted in earlier runs, by ledger name.
    pub invocations: HashMap<String, u64>,
}

/// One token, its worker threads and its watcher.
pub struct Hsm {
    name: Arc<str>,
    jobs: Sender<Job>,
    commands: Sender<Command>,
    inventory: Arc<ArcSwap<Inventory>>,
    workers: Vec<Arc<Busy>>,
    health: ArcSwap<Health>,
    last_refresh: parking_lot::Mutex<Option<Instant>>,
    /// Somebody saw a fault: the next probe should not wait.
    alarm: Arc<Notify>,
    metrics: Arc<HsmMetrics>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
struct Health {
    state: HealthState,
    reason: Option<String>,
    product: Product,
    probed: Option<Instant>,
}

impl Hsm {
    /// Starts the threads. Nothing has been asked of the token yet: probe it next.
    pub fn start(parts: HsmParts) -> std::io::Result<Arc<Self>> {
        let HsmParts { config, pin, module, metrics, clock, invocations } = parts;
        let (jobs, job_receiver) = crossbeam_channel::bounded(config.queue_length_max);
        let (commands, command_receiver) = crossbeam_channel::unbounded();
        let name: Arc<str> = Arc::from(config.name.as_str());
        let sessions = config.sessions;
        let token = Arc::new(Token::new(config, module, &pin));
        let inventory = Arc::new(ArcSwap::from_pointee(Inventory::with_invocations(invocations)));
        let health_object = Arc::new(ArcSwapOption::<KeyObject>::empty());
        let metrics = Arc::new(metrics);
        let alarm = Arc::new(Notify::new());
        let workers: Vec<_> = (0..sessions).map(|_| Arc::new(Busy::new(clock.instant()))).collect();
        for (number, busy) in workers.iter().enumerate() {
            let alarm = Arc::clone(&alarm);
            let worker = Worker {
                token: Arc::clone(&token),
                health_object: Arc::clone(&health_object),
                jobs: job_receiver.clone(),
                busy: Arc::clone(busy),
                metrics: Arc::clone(&metrics),
                clock: Arc::clone(&clock),
                alarm: Arc::new(move || alarm.notify_one()),
                session: None,
            };
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || worker.run())?;
        }
        let watcher = Watcher {
            token,
            inventory: Arc::clone(&inventory),
            health_object,
            commands: command_receiver,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            session: None,
            tested_generation: 0,
            last_reinitialization: None,
        };
        thread::Builder::new().name(format!("{name}-watcher")).spawn(move || watcher.run())?;
        let health = Health {
            state: HealthState::Unavailable,
            reason: Some("not probed yet".to_owned()),
            product: Product::default(),
            probed: None,
        };
        metrics.set_state(health.state.as_str(), HealthState::ALL);
        Ok(Arc::new(Self {
            name,
            jobs,
            commands,
            inventory,
            workers,
            health: ArcSwap::from_pointee(health),
            last_refresh: parking_lot::Mutex::new(None),
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

    /// Encryptions counted for keys that are not in the token now.
    pub fn unclaimed_invocations(&self) -> Vec<(String, u64)> {
        self.inventory.load().unclaimed_invocations().collect()
    }

    pub(super) fn queue_length(&self) -> usize {
        self.jobs.len()
    }

    /// Completes when somebody saw a fault since the last call.
    pub async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// Puts a job into the queue and waits for its answer, at most until the deadline. A hung library costs
    /// the caller no more than that, and nothing once all sessions hang.
    pub(super) async fn run(
        &self,
        task: Task,
        object: Arc<KeyObject>,
        deadline: Instant,
    ) -> Result<(Output, Duration, Duration), (HsmError, Duration, Duration)> {
        let none = (Duration::ZERO, Duration::ZERO);
        let now = self.clock.instant();
        if self.stuck_workers(now) == self.workers.len() {
            return Err((HsmError::DeadlineExceeded, none.0, none.1));
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { task, object, enqueued: now, deadline, reply };
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
        let (reply, answer) = oneshot::channel();
        let outcome = match self.commands.send(Command::Probe(reply)) {
            Ok(()) => tokio::time::timeout(timeout, answer).await,
            Err(_) => return,
        };
        let product = self.health.load().product.clone();
        let down = |reason: String, product| Health {
            state: HealthState::Unavailable,
            reason: Some(reason),
            product,
            probed: Some(self.clock.instant()),
        };
        self.set_health(match outcome {
            Ok(Ok(Ok(vitals))) => {
                self.metrics.probe_duration.observe(vitals.duration.as_secs_f64());
                self.metrics
                    .probe_timestamp
                    .set(i64::try_from(self.clock.unix_seconds()).unwrap_or(i64::MAX));
                let slow = vitals.duration > SLOW_PROBE;
                Health {
                    state: if slow { HealthState::Degraded } else { HealthState::Active },
                    reason: slow.then(|| format!("the probe took {} ms", vitals.duration.as_millis())),
                    product: vitals.product,
                    probed: Some(self.clock.instant()),
                }
            }
            Ok(Ok(Err(fault))) => down(fault.what, product),
            Ok(Err(_)) => down("the watcher has ended".to_owned(), product),
            Err(_) => down(format!("no answer to a probe within {} ms", timeout.as_millis()), product),
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
        self.metrics.set_state(self.health_at(now).state.as_str(), HealthState::ALL);
        self.metrics.queue_length.set(i64::try_from(self.jobs.len()).unwrap_or(i64::MAX));
        self.metrics.sessions_stuck.set(i64::try_from(self.stuck_workers(now)).unwrap_or(i64::MAX));
    }

    pub fn health(&self) -> MemberHealth {
        self.health_at(self.clock.instant())
    }

    fn health_at(&self, now: Instant) -> MemberHealth {
        let health = self.health.load();
        let (mut state, mut reason) = (health.state, health.reason.clone());
        let stuck = self.stuck_workers(now);
        if stuck == self.workers.len() {
            (state, reason) =
                (HealthState::Unavailable, Some("all sessions hang in PKCS#11 calls".to_owned()));
        } else if stuck > 0 && state == HealthState::Active {
            (state, reason) =
                (HealthState::Degraded, Some(format!("{stuck} sessions hang in PKCS#11 calls")));
        }
        if health.probed.is_none_or(|probed| now.saturating_duration_since(probed) > HEALTH_AGE_MAX) {
            (state, reason) =
                (HealthState::Unavailable, Some("no probe result within the last minute".to_owned()));
        }
        let Product { vendor, model } = health.product.clone();
        MemberHealth { id: self.name.to_string(), vendor, model, state, reason }
    }

    fn stuck_workers(&self, now: Instant) -> usize {
        self.workers.iter().filter(|busy| busy.is_stuck(now, HANG_LIMIT)).count()
    }

    /// Reads the keys again. True if that was done; not done more often than `REFRESH_INTERVAL_MIN` unless
    /// `forced`.
    pub async fn refresh(&self, forced: bool) -> bool {
        let now = self.clock.instant();
        {
            let mut last = self.last_refresh.lock();
            let recent = last.is_some_and(|last| now.saturating_duration_since(last) < REFRESH_INTERVAL_MIN);
            if recent && !forced {
                return false;
            }
            *last = Some(now);
        }
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Refresh(reply)).is_ok() && matches!(answer.await, Ok(Ok(())))
    }

    /// Uses another PIN from now on.
    pub fn set_pin(&self, pin: SecretBytes) {
        let _ = self.commands.send(Command::SetPin(pin));
        self.alarm.notify_one();
    }
}

/// A call that takes longer than AWS KMS ever waits hangs.
const HANG_LIMIT: Duration = Duration::from_millis(250);

fn stopped() -> HsmError {
    HsmError::Unavailable("the HSM is stopped".to_owned())
}
