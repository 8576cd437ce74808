//! Starts the worker process of an HSM, watches it, and puts another in its place.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use crate::key_manager::HsmError;
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::process::in_flight::fail;
use crate::key_manager::pkcs11::process::live::{Ended, Live, Stage};
use crate::key_manager::pkcs11::process::memory;
use crate::key_manager::pkcs11::process::message::{Start, ToWorker};
use crate::key_manager::pkcs11::process::mirror::{Mirror, PinFacts, PinNews};
use crate::key_manager::pkcs11::process::processes::{Processes, Started};

/// Loading and initializing a library that looks for its HSM takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// For so long requests wait for a process to take the place of one that has ended; then they are refused at once.
const PATIENCE: Duration = Duration::from_millis(150);
const REFUSAL_INTERVAL: Duration = Duration::from_millis(25);
/// Between two processes that did not serve for long.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Who has served for so long is replaced at once.
const GOOD_SERVICE: Duration = Duration::from_secs(2);
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
/// A token that needs more than it may have must not be replaced all the time.
const REPLACEMENT_INTERVAL: Duration = Duration::from_secs(30);
/// How long one that is replaced may take to answer what it has.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
const EXIT_INTERVAL: Duration = Duration::from_millis(5);

/// The engine of one HSM and its supervisor have it.
pub(super) struct Post {
    pub(super) mirror: Arc<Mirror>,
    pub(super) processes: Arc<Processes>,
    /// The process that is told what to do; jobs wait until it is ready.
    pub(super) live: ArcSwapOption<Live>,
    /// Since when, and why, nobody takes jobs.
    pub(super) vacancy: Mutex<Option<Vacancy>>,
    pub(super) vacated: Notify,
    /// The start of the daemon waits for the first process, and asks the token next.
    pub(super) is_awaited: AtomicBool,
    pub(super) stop: watch::Sender<bool>,
}

#[derive(Clone, Debug)]
pub(super) struct Vacancy {
    pub(super) since: Instant,
    pub(super) reason: String,
}

/// Why the daemon cannot start, if so.
pub(super) type Outcome = Result<(), String>;

/// A process in service, and the task that serves it.
struct Worker {
    live: Arc<Live>,
    /// What it was told of PINs when it was started.
    told: PinNews,
    serving: JoinHandle<(Ended, Option<ExitStatus>)>,
}

/// Why there is no process.
struct NotStarted {
    reason: String,
    /// The library says so itself, or the system: the next try will not be different.
    is_final: bool,
}

impl NotStarted {
    fn of(error: std::io::Error) -> Self {
        Self { reason: error.to_string(), is_final: true }
    }
}

impl Post {
    fn now(&self) -> Instant {
        self.mirror.shared.clock.instant()
    }

    fn name(&self) -> &Arc<str> {
        &self.mirror.shared.name
    }

    /// Whether jobs are to wait for the next process.
    pub(super) fn is_patient(&self, now: Instant) -> bool {
        let vacancy = self.vacancy.lock();
        vacancy.as_ref().is_none_or(|vacancy| now.saturating_duration_since(vacancy.since) < PATIENCE)
    }

    /// Blocks the thread until a process does jobs, but for no longer than this.
    pub(super) fn wait_in_service(&self, patience: Duration) {
        let until = self.now() + patience;
        while self.vacancy.lock().is_some() && self.now() < until {
            std::thread::sleep(EXIT_INTERVAL);
        }
        self.is_awaited.store(false, Ordering::Release);
    }

    fn set_vacant(&self, reason: &str) {
        let mut vacancy = self.vacancy.lock();
        match &mut *vacancy {
            Some(vacancy) => reason.clone_into(&mut vacancy.reason),
            none => *none = Some(Vacancy { since: self.now(), reason: reason.to_owned() }),
        }
        drop(vacancy);
        self.vacated.notify_one();
    }

    /// Whoever waits is told that nobody will come soon.
    fn refuse_jobs(&self) {
        let reason = self.vacancy.lock().as_ref().map(|vacancy| vacancy.reason.clone()).unwrap_or_default();
        while let Some(job) = self.mirror.next_job(self.now()) {
            fail(job.reply, HsmError::Unavailable(reason.clone()));
        }
    }

    /// Keeps a worker process in service until the daemon stops. The first outcome is told, for the start of the daemon.
    pub(super) async fn supervise(self: Arc<Self>, first: mpsc::Sender<Outcome>) {
        let mut first = Some(first);
        let mut pause = Duration::ZERO;
        let mut stop = self.stop.subscribe();
        // Who never comes is to be seen too.
        self.mirror.shared.metrics.set_worker(None, 0);
        while !*stop.borrow() {
            let started = tokio::select! {
                started = self.start(&mut first) => started,
                () = until(&mut stop, |stop| *stop) => break,
            };
            let since = self.now();
            if let Some(worker) = started {
                self.keep(worker).await;
            }
            if *stop.borrow() {
                break;
            }
            let served = self.now().saturating_duration_since(since);
            pause = if served >= GOOD_SERVICE { Duration::ZERO } else { pause };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = until(&mut stop, |stop| *stop) => break,
            }
            pause = (2 * pause).clamp(PAUSE_MIN, PAUSE_MAX);
        }
    }

    /// Refuses jobs for as long as nobody comes to do them.
    pub(super) async fn refuse(self: Arc<Self>) {
        loop {
            self.vacated.notified().await;
            tokio::time::sleep(PATIENCE).await;
            while self.vacancy.lock().is_some() {
                if !self.is_patient(self.now()) {
                    self.refuse_jobs();
                }
                tokio::time::sleep(REFUSAL_INTERVAL).await;
            }
        }
    }

    /// A process that is told what to do. It may not be ready for long.
    async fn start(&self, first: &mut Option<mpsc::Sender<Outcome>>) -> Option<Worker> {
        match self.start_process().await {
            Ok(worker) => {
                self.put_in_place(&worker);
                self.tell_first(first, Ok(()));
                Some(worker)
            }
            Err(NotStarted { reason, is_final }) => {
                let hsm = self.name();
                tracing::error!(%hsm, reason, "the worker process of HSM {hsm} did not start: {reason}");
                self.set_vacant(&reason);
                self.mirror.shared.metrics.restart("start");
                self.tell_first(first, if is_final { Err(reason) } else { Ok(()) });
                None
            }
        }
    }

    fn tell_first(&self, first: &mut Option<mpsc::Sender<Outcome>>, outcome: Outcome) {
        if let Some(first) = first.take() {
            let _ = first.send(outcome);
        }
    }

    async fn start_process(&self) -> Result<Worker, NotStarted> {
        let config = &self.mirror.shared.config;
        let Started { child, control, jobs } = self.processes.start(config).await.map_err(NotStarted::of)?;
        let (told, start) = self.start_message();
        let mirror = Arc::clone(&self.mirror);
        let log = Arc::clone(&self.processes.log);
        let created = Live::new(mirror, (control, jobs), child.id(), log, &start);
        let (live, ends) = match created {
            Ok(created) => created,
            Err(error) => {
                self.processes.reap(child);
                return Err(NotStarted::of(error));
            }
        };
        let live = Arc::new(live);
        let mut stage = live.stage();
        let serving = self.processes.runtime.spawn(serve(
            Arc::clone(&live),
            ends,
            (child, Arc::clone(&self.processes)),
        ));
        let reason = match reached(&mut stage, |stage| *stage != Stage::Starting).await {
            Some(Stage::Started | Stage::Ready) => return Ok(Worker { live, told, serving }),
            Some(Stage::Ended(Ended::Failed(reason))) => return Err(NotStarted { reason, is_final: true }),
            Some(Stage::Starting | Stage::Ended(_)) => match serving.await {
                Ok((ended, status)) => describe(&ended, status).0,
                Err(_) => "it could not be served".to_owned(),
            },
            None => {
                live.tell(&ToWorker::End);
                serving.abort();
                format!("the library was not initialized within {} s", START_TIMEOUT.as_secs())
            }
        };
        Err(NotStarted { reason, is_final: false })
    }

    /// What is news after it has to be told apart.
    fn start_message(&self) -> (PinNews, Start) {
        let config = &self.mirror.shared.config;
        self.mirror.see_pin_file();
        let news = self.mirror.pin_news();
        let PinFacts { pin, is_rejected } = self.mirror.pin_facts();
        let start = Start {
            config: config.clone(),
            log_filter: self.processes.log_filter.clone(),
            daemon_pid: std::process::id(),
            pin,
            is_pin_rejected: is_rejected,
            root_keys: self.mirror.wanted_roots(),
        };
        (news, start)
    }

    /// It is told what to do from now on, and first what was said while there was nobody to listen.
    fn put_in_place(&self, worker: &Worker) {
        self.live.store(Some(Arc::clone(&worker.live)));
        let news = self.mirror.pin_news();
        if news.changes != worker.told.changes {
            match self.mirror.pin_facts().pin {
                Some(pin) => worker.live.tell(&ToWorker::OfferPin { pin, reinitialize: true }),
                None if !self.mirror.is_connected() => {
                    worker.live.tell(&ToWorker::Disconnect);
                    let (reply, _) = oneshot::channel();
                    let _ = worker.live.order(Order::LogOut(reply));
                }
                None => {}
            }
        }
        if news.file != worker.told.file {
            worker.live.tell(&ToWorker::PinFileChanged);
        }
    }

    /// Serves with this process, and with what takes its place without a gap, until one ends.
    async fn keep(&self, mut worker: Worker) {
        let metrics = &self.mirror.shared.metrics;
        let mut replaced = None;
        let mut stop = self.stop.subscribe();
        let mut is_taken_up = false;
        metrics.set_worker(Some(worker.live.pid), 0);
        loop {
            let mut stage = worker.live.stage();
            tokio::select! {
                ended = &mut worker.serving => return self.bury(&worker.live, ended.ok()),
                () = until(&mut stage, |stage| *stage == Stage::Ready), if !is_taken_up => {
                    is_taken_up = true;
                    self.take_up(&worker.live);
                }
                () = tokio::time::sleep(MEMORY_INTERVAL) => {
                    if is_taken_up && self.is_too_big(&worker.live, replaced) {
                        replaced = Some(self.now());
                        self.replace(&mut worker).await;
                    }
                }
                () = until(&mut stop, |stop| *stop) => return self.end(worker).await,
            }
        }
    }

    /// It does jobs from now on.
    fn take_up(&self, live: &Live) {
        let (hsm, pid) = (self.name(), live.pid);
        tracing::info!(%hsm, pid, "worker process {pid} of HSM {hsm} is in service");
        *self.vacancy.lock() = None;
        live.send_jobs();
        // What it found out counts only if somebody asks.
        if !self.is_awaited.swap(false, Ordering::AcqRel) {
            self.mirror.shared.alarm.raise();
        }
    }

    fn bury(&self, live: &Live, ended: Option<(Ended, Option<ExitStatus>)>) {
        let (hsm, pid) = (self.name(), live.pid);
        let (ended, status) = ended.unwrap_or((Ended::Closed, None));
        let (reason, label) = describe(&ended, status);
        self.set_vacant(&format!("its worker process has ended: {reason}"));
        self.live.store(None);
        self.mirror.forget_process();
        self.mirror.shared.metrics.set_worker(None, 0);
        self.mirror.shared.metrics.restart(label);
        self.mirror.shared.alarm.raise();
        tracing::error!(%hsm, pid, reason, "worker process {pid} of HSM {hsm} has ended, and another takes its place: {reason}");
    }

    fn is_too_big(&self, live: &Live, replaced: Option<Instant>) -> bool {
        let Some(bytes) = memory::resident_bytes(live.pid) else { return false };
        self.mirror.shared.metrics.set_worker(Some(live.pid), bytes);
        let is_due = replaced
            .is_none_or(|replaced| self.now().saturating_duration_since(replaced) >= REPLACEMENT_INTERVAL);
        is_due && bytes > self.mirror.shared.config.worker_memory_max_bytes
    }

    /// Another process takes over while this one still answers.
    async fn replace(&self, worker: &mut Worker) {
        let (hsm, pid) = (self.name(), worker.live.pid);
        tracing::warn!(%hsm, pid, "worker process {pid} of HSM {hsm} takes more than `worker_memory_max_mb`, and is replaced");
        let next = match self.start_process().await {
            Ok(next) => next,
            Err(NotStarted { reason, .. }) => {
                tracing::error!(%hsm, reason, "no worker process of HSM {hsm} could take over: {reason}");
                return;
            }
        };
        let mut stage = next.live.stage();
        let _ = reached(&mut stage, |stage| !matches!(stage, Stage::Starting | Stage::Started)).await;
        if !next.live.came_well() {
            // Better one that takes too much than one that cannot work: a token may be out of sessions for both.
            tracing::error!(%hsm, "the process that was to take over has no use of the token of HSM {hsm}");
            next.live.tell(&ToWorker::End);
            return;
        }
        self.mirror.shared.metrics.restart("memory");
        let former = std::mem::replace(worker, next);
        former.live.retire();
        self.put_in_place(worker);
        // Keys may have been made by the former since this one read them.
        self.mirror.shared.alarm.raise_for_keys();
        self.take_up(&worker.live);
        self.processes.runtime.spawn(drain(former));
    }

    /// The daemon stops: the library may say goodbye to its HSM.
    async fn end(&self, mut worker: Worker) {
        worker.live.tell(&ToWorker::End);
        if tokio::time::timeout(EXIT_TIMEOUT, &mut worker.serving).await.is_err() {
            worker.serving.abort();
        }
        self.live.store(None);
    }
}

/// Nobody else is kept from changing it meanwhile.
async fn until<T>(value: &mut watch::Receiver<T>, is_so: impl FnMut(&T) -> bool) {
    drop(value.wait_for(is_so).await);
}

/// The stage that it has come to, if it did in time.
async fn reached(
    stage: &mut watch::Receiver<Stage>,
    is_reached: impl FnMut(&Stage) -> bool,
) -> Option<Stage> {
    match tokio::time::timeout(START_TIMEOUT, stage.wait_for(is_reached)).await {
        Ok(Ok(stage)) => Some(stage.clone()),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// Until it has answered what it has.
async fn drain(mut worker: Worker) {
    let idle = async {
        while !worker.live.is_idle() {
            tokio::time::sleep(EXIT_INTERVAL).await;
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, idle).await;
    worker.live.tell(&ToWorker::End);
    if tokio::time::timeout(EXIT_TIMEOUT, &mut worker.serving).await.is_err() {
        worker.serving.abort();
    }
}

/// Kills the process when it is not served any more, whatever the reason.
struct Killed {
    child: Option<Child>,
    processes: Arc<Processes>,
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            self.processes.reap(child);
        }
    }
}

/// Serves it until it ends, and sees to it that it does.
async fn serve(
    live: Arc<Live>,
    ends: crate::key_manager::pkcs11::process::live::Ends,
    (child, processes): (Child, Arc<Processes>),
) -> (Ended, Option<ExitStatus>) {
    let mut killed = Killed { child: Some(child), processes };
    let ended = live.serve(ends).await;
    let Some(process) = &mut killed.child else { return (ended, None) };
    // One whose sockets closed is about to end by itself, and how it does says why.
    let may_end_itself = matches!(ended, Ended::Closed | Ended::Failed(_));
    if !may_end_itself || wait(process).await.is_none() {
        let _ = process.kill();
    }
    let status = wait(process).await;
    if status.is_some() {
        killed.child = None;
    }
    (ended, status)
}

async fn wait(process: &mut Child) -> Option<ExitStatus> {
    let wait = async {
        loop {
            if let Ok(Some(status)) = process.try_wait() {
                return status;
            }
            tokio::time::sleep(EXIT_INTERVAL).await;
        }
    };
    tokio::time::timeout(EXIT_TIMEOUT, wait).await.ok()
}

/// What happened, and its label in metrics.
fn describe(ended: &Ended, status: Option<ExitStatus>) -> (String, &'static str) {
    match (ended, status) {
        (Ended::Failed(reason), _) => (reason.clone(), "start"),
        (Ended::Hangs(what), _) => ((*what).to_owned(), "hang"),
        (Ended::Protocol(what), _) => ((*what).to_owned(), "protocol"),
        (Ended::Closed, Some(status)) => match status.signal() {
            Some(signal) => (format!("signal {signal}{}", signal_name(signal)), "signal"),
            None => (format!("exit status {}", status.code().unwrap_or_default()), "exit"),
        },
        (Ended::Closed, None) => ("it closed its sockets and did not end".to_owned(), "exit"),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}
