//! The PKCS#11 library in a process of its own, started anew when it ends.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::domain::kms::MaterialId;
use crate::key_manager::backing_key::RootKeys;
use crate::key_manager::pkcs11::backing_task::BackingTask;
use crate::key_manager::pkcs11::capabilities::Capabilities;
use crate::key_manager::pkcs11::engine::{Engine, Interruption, Shared};
use crate::key_manager::pkcs11::job_queue::NotTaken;
use crate::key_manager::pkcs11::module::{HANG_LIMIT, Module};
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::process::awaited::Awaiting;
use crate::key_manager::pkcs11::process::live::gone;
use crate::key_manager::pkcs11::process::message::{Moments, ToWorker};
use crate::key_manager::pkcs11::process::mirror::Mirror;
use crate::key_manager::pkcs11::process::processes::Processes;
use crate::key_manager::pkcs11::process::supervisor::{Post, Vacancy};
use crate::key_manager::pkcs11::watcher::Command;
use crate::secret::SecretBytes;

/// And for its token to have been asked once. Who takes longer is asked again as soon as it can be.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the start of the daemon waits for the library to be loaded.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct WorkerProcess {
    post: Arc<Post>,
    /// Ends when the supervisor does.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl WorkerProcess {
    /// Starts the first process. A library that cannot be loaded is an error; one that crashes or hangs is not.
    pub(super) fn start(shared: Arc<Shared>, processes: Arc<Processes>) -> std::io::Result<Self> {
        let since = shared.clock.instant();
        let vacancy = Vacancy { since, reason: "its worker process is being started".to_owned() };
        let post = Arc::new(Post {
            mirror: Arc::new(Mirror::new(shared)),
            processes,
            live: ArcSwapOption::empty(),
            vacancy: Mutex::new(Some(vacancy)),
            vacated: Notify::new(),
            is_awaited: AtomicBool::new(true),
            stop: watch::Sender::new(false),
        });
        post.vacated.notify_one();
        let (outcome, first) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let supervised = Arc::clone(&post);
        post.processes.runtime.spawn(async move {
            let refusing = supervised.processes.runtime.spawn(Arc::clone(&supervised).refuse());
            supervised.supervise(outcome).await;
            refusing.abort();
            drop(ending);
        });
        let this = Self { post, ended: Mutex::new(ended) };
        match first.recv_timeout(FIRST_TIMEOUT) {
            Ok(Err(reason)) => return Err(std::io::Error::other(reason)),
            Ok(Ok(())) => this.post.wait_in_service(READY_TIMEOUT),
            Err(_) => {}
        }
        Ok(this)
    }

    fn tell(&self, message: &ToWorker) {
        if let Some(live) = self.post.live.load().as_ref() {
            live.tell(message);
        }
    }

    fn mirror(&self) -> &Mirror {
        &self.post.mirror
    }
}

impl Engine for WorkerProcess {
    fn job_arrived(&self) {
        if let Some(live) = self.post.live.load().as_ref() {
            live.send_jobs();
        }
    }

    fn sessions_stuck(&self, now: Instant) -> usize {
        self.post.live.load().as_ref().map_or(0, |live| live.stuck(now, HANG_LIMIT))
    }

    fn interruption(&self, now: Instant) -> Option<Interruption> {
        if self.post.live.load().as_ref().is_some_and(|live| live.is_ready()) {
            return None;
        }
        let reason = self.post.vacancy.lock().as_ref().map(|vacancy| vacancy.reason.clone());
        let reason = reason.unwrap_or_else(|| "its worker process is being started".to_owned());
        Some(Interruption { reason, is_brief: self.post.is_patient(now) })
    }

    fn command(&self, command: Command) -> Result<(), NotTaken> {
        let have_keys_changed = self.mirror().shared.alarm.take_keys_changed();
        let live = self.post.live.load();
        let (is_probe, waiting) = match command {
            Command::Probe(reply) => (true, Awaiting::Probed(reply)),
            Command::Refresh(reply) => (false, Awaiting::Refreshed(reply)),
        };
        let asked = match live.as_ref() {
            Some(live) => live.ask(waiting, |id| match is_probe {
                true => ToWorker::Probe { id, have_keys_changed },
                false => ToWorker::Refresh { id, have_keys_changed },
            }),
            None => {
                waiting.fail(&gone());
                Ok(())
            }
        };
        if have_keys_changed && (asked.is_err() || live.is_none()) {
            // It is for the next one who is asked.
            self.mirror().shared.alarm.note_keys_changed();
        }
        asked
    }

    fn order(&self, order: Order) -> Result<(), NotTaken> {
        match (self.post.live.load().as_ref(), order) {
            (Some(live), order) => live.order(order),
            // Nobody is logged in.
            (None, Order::LogOut(reply)) => {
                let _ = reply.send(Ok(()));
                Ok(())
            }
            (None, order) => {
                let moments = Moments::new(&*self.mirror().shared.clock);
                Awaiting::of(order, 0, &moments).1.fail(&gone());
                Ok(())
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.mirror().is_connected()
    }

    fn disconnect(&self) {
        self.mirror().forget_pin();
        self.tell(&ToWorker::Disconnect);
    }

    fn offer_pin(&self, pin: &SecretBytes, reinitialize: bool) {
        self.mirror().give_pin(pin);
        self.tell(&ToWorker::OfferPin { pin: pin.clone(), reinitialize });
    }

    fn replace_pin(&self, pin: &SecretBytes, soon: bool) {
        self.mirror().replace_pin(pin);
        self.tell(&ToWorker::ReplacePin { pin: pin.clone(), soon });
    }

    fn is_pin_rejected(&self) -> bool {
        self.mirror().is_pin_rejected()
    }

    fn library(&self) -> Option<&Arc<Module>> {
        None
    }

    fn want_root_keys(&self, keys: RootKeys) {
        self.mirror().want_roots(keys);
        self.tell(&ToWorker::WantRootKeys(keys));
    }

    fn is_root_key_wanted(&self) -> bool {
        self.mirror().wanted_roots().is_some()
    }

    fn is_root_key_open(&self) -> bool {
        self.mirror().is_root_open()
    }

    fn capabilities(&self) -> Arc<Capabilities> {
        self.mirror().capabilities()
    }

    /// With the next job that comes to it.
    fn discard(&self, material: &MaterialId) {
        self.mirror().shared.keep_house(BackingTask::Sweep(Some(*material)));
        self.job_arrived();
    }

    fn pin_file_changed(&self) {
        if self.mirror().see_pin_file() {
            self.tell(&ToWorker::PinFileChanged);
            self.mirror().shared.alarm.raise();
        }
    }

    fn stop(&self, patience: Duration) -> bool {
        self.post.stop.send_replace(true);
        let ended = self.ended.lock().recv_timeout(patience);
        ended == Err(mpsc::RecvTimeoutError::Disconnected)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.post.stop.send_replace(true);
    }
}
