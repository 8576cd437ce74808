//! HSMs for tests whose engine does what a script says, in the time of the test.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Isolation, IvMode};
use crate::domain::kms::MaterialId;
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::RootKeys;
use crate::key_manager::pkcs11::alarm::Alarm;
use crate::key_manager::pkcs11::capabilities::Capabilities;
use crate::key_manager::pkcs11::engine::{Engine, Interruption, Shared};
use crate::key_manager::pkcs11::fitness::Fitness;
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::job_queue::{JobQueue, NotTaken};
use crate::key_manager::pkcs11::module::Module;
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::token::Product;
use crate::key_manager::pkcs11::watcher::{Command, Vitals};
use crate::key_manager::pkcs11::worker::{Completed, Job, Output};
use crate::metrics::Metrics;
use crate::secret::SecretBytes;

/// The time of tokio, which tests pause.
pub(super) struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        SystemClock.now()
    }

    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// What becomes of a job.
#[derive(Clone, Debug)]
pub(super) enum Act {
    After(Duration, Result<(), HsmError>),
    Hang,
}

/// What the jobs of an HSM come to from now on, and how many it was given.
pub(super) struct Script {
    shared: Arc<Shared>,
    act: Mutex<Act>,
    pub(super) given: AtomicUsize,
    hanging: Mutex<Vec<Job>>,
    runtime: tokio::runtime::Handle,
}

impl Script {
    pub(super) fn set(&self, act: Act) {
        *self.act.lock() = act;
    }

    pub(super) fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }

    pub(super) fn fitness(&self) -> &Arc<Fitness> {
        &self.shared.fitness
    }
}

struct Scripted(Arc<Script>);

impl Engine for Scripted {
    fn job_arrived(&self) {
        let Some(job) = self.0.shared.jobs.pop() else { return };
        self.0.given.fetch_add(1, Ordering::Relaxed);
        match self.0.act.lock().clone() {
            Act::Hang => self.0.hanging.lock().push(job),
            Act::After(hsm_time, result) => {
                let result = result.map(|()| Output::Random(SecretBytes::default()));
                let answer = async move {
                    tokio::time::sleep(hsm_time).await;
                    job.reply.send(Completed { result, queue_wait: Duration::ZERO, hsm_time });
                };
                drop(self.0.runtime.spawn(answer));
            }
        }
    }

    fn sessions_stuck(&self, _: Instant) -> usize {
        0
    }

    fn command(&self, command: Command) -> Result<(), NotTaken> {
        if let (Command::Probe(reply), Act::After(..)) = (command, self.0.act.lock().clone()) {
            let _ = reply.send(Ok(Vitals { product: Product::default(), duration: Duration::ZERO }));
        }
        Ok(())
    }

    fn order(&self, _: Order) -> Result<(), NotTaken> {
        Err(NotTaken::Closed)
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn disconnect(&self) {}

    fn offer_pin(&self, _: &SecretBytes, _: bool) {}

    fn replace_pin(&self, _: &SecretBytes, _: bool) {}

    fn is_pin_rejected(&self) -> bool {
        false
    }

    fn library(&self) -> Option<&Arc<Module>> {
        None
    }

    fn want_root_keys(&self, _: RootKeys) {}

    fn is_root_key_wanted(&self) -> bool {
        true
    }

    fn is_root_key_open(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Arc<Capabilities> {
        Arc::default()
    }

    fn discard(&self, _: &MaterialId) {}

    fn interruption(&self, _: Instant) -> Option<Interruption> {
        None
    }

    fn pin_file_changed(&self) {}

    fn stop(&self, _: Duration) -> bool {
        true
    }
}

pub(super) fn shared(name: &str, queue_length_max: usize, metrics: &Metrics) -> Arc<Shared> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock);
    let (name, metrics) = (Arc::<str>::from(name), Arc::new(metrics.hsm(name)));
    Arc::new(Shared {
        fitness: Arc::new(Fitness::new(Arc::clone(&name), Arc::clone(&metrics), Arc::clone(&clock))),
        config: config::Hsm {
            name: name.to_string(),
            module: "none".into(),
            token_label: "label".into(),
            token_serial: None,
            pin_file: None,
            refused_pin_file: None,
            initialize_parameters: None,
            sessions: 2,
            queue_length_max,
            cached_keys_max: 1,
            session_copies: false,
            iv_mode: IvMode::Host,
            check_encryptions: false,
            health_key: "health".into(),
            environment: [].into(),
            isolation: Isolation::Thread,
            worker_memory_max_bytes: 0,
        },
        name,
        jobs: JobQueue::new(queue_length_max),
        inventory: ArcSwap::from_pointee(Inventory::with_invocations(HashMap::new())),
        alarm: Alarm::default(),
        metrics,
        clock,
    })
}

/// An HSM that has passed its first probe.
pub(super) async fn hsm(name: &str, act: Act, metrics: &Metrics) -> (Arc<Hsm>, Arc<Script>) {
    let shared = shared(name, 100, metrics);
    let script = Arc::new(Script {
        shared: Arc::clone(&shared),
        act: Mutex::new(Act::After(Duration::ZERO, Ok(()))),
        given: AtomicUsize::new(0),
        hanging: Mutex::default(),
        runtime: tokio::runtime::Handle::current(),
    });
    let hsm = Hsm::over(shared, Box::new(Scripted(Arc::clone(&script))));
    hsm.probe(Duration::from_secs(1)).await;
    script.set(act);
    (hsm, script)
}
