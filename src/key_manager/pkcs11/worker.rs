//! A worker: a thread that owns one session and takes jobs from the queue, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::token::{OpenSession, Token};
use crate::key_manager::{Decrypt, Encrypt, Encrypted, HsmError};
use crate::metrics::HsmMetrics;
use crate::secret::SecretBytes;

/// Work for a worker: plain data, that could as well go to another process.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) object: Arc<KeyObject>,
    pub(super) enqueued: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Completed>,
}

pub(super) enum Task {
    Encrypt(Arc<Encrypt>),
    Decrypt(Arc<Decrypt>),
}

pub(super) enum Output {
    Encrypted(Encrypted),
    Decrypted(SecretBytes),
}

pub(super) struct Completed {
    pub(super) result: Result<Output, HsmError>,
    pub(super) queue_wait: Duration,
    pub(super) hsm_time: Duration,
}

/// When a worker's present job started, in milliseconds since `epoch`, plus one; zero while it is idle.
pub(super) struct Busy {
    epoch: Instant,
    since_ms: AtomicU64,
}

impl Busy {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, since_ms: AtomicU64::new(0) }
    }

    fn start(&self, now: Instant) {
        self.since_ms.store(self.millis(now) + 1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    /// Whether the present job has gone on for longer than `limit`.
    pub(super) fn is_stuck(&self, now: Instant, limit: Duration) -> bool {
        let since = self.since_ms.load(Ordering::Relaxed);
        since != 0 && u128::from(self.millis(now).saturating_sub(since - 1)) > limit.as_millis()
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX - 1)
    }
}

pub(super) struct Worker {
    pub(super) token: Arc<Token>,
    pub(super) health_object: Arc<arc_swap::ArcSwapOption<KeyObject>>,
    pub(super) jobs: Receiver<Job>,
    pub(super) busy: Arc<Busy>,
    pub(super) metrics: Arc<HsmMetrics>,
    pub(super) clock: Arc<dyn Clock>,
    /// Wakes the watcher: something about the token is wrong.
    pub(super) alarm: Arc<dyn Fn() + Send + Sync>,
    pub(super) session: Option<OpenSession>,
}

impl Worker {
    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        while let Ok(job) = self.jobs.recv() {
            let started = self.clock.instant();
            // Nobody waits for it any more.
            if started >= job.deadline || job.reply.is_closed() {
                continue;
            }
            self.busy.start(started);
            let result = self.work(&job);
            self.busy.end();
            let hsm_time = self.clock.instant().saturating_duration_since(started);
            let queue_wait = started.saturating_duration_since(job.enqueued);
            self.observe(&job.task, queue_wait, hsm_time);
            // The receiver may have given up: then the result is wiped with the message.
            let _ = job.reply.send(Completed { result, queue_wait, hsm_time });
        }
        self.drop_session();
    }

    fn observe(&self, task: &Task, queue_wait: Duration, hsm_time: Duration) {
        self.metrics.queue_wait.observe(queue_wait.as_secs_f64());
        match task {
            Task::Encrypt(_) => self.metrics.encrypt.observe(hsm_time.as_secs_f64()),
            Task::Decrypt(_) => self.metrics.decrypt.observe(hsm_time.as_secs_f64()),
        }
    }

    /// Tries once more after a fault that a new session or a new search may heal.
    fn work(&mut self, job: &Job) -> Result<Output, HsmError> {
        let token = Arc::clone(&self.token);
        let library = token.module.library();
        let mut fault = match self.attempt(job, &library) {
            Ok(output) => return Ok(output),
            Err(fault) => fault,
        };
        let healable = match fault.blame {
            Blame::Handle => {
                job.object.forget_handle();
                true
            }
            Blame::Session => {
                self.drop_session();
                if fault.code == "UserNotLoggedIn" {
                    token.forget_login();
                }
                true
            }
            Blame::Data | Blame::Length | Blame::Usage | Blame::Pin | Blame::Token | Blame::DataOrToken => {
                false
            }
        };
        if healable && self.clock.instant() < job.deadline {
            self.metrics.fault(&fault.code);
            fault = match self.attempt(job, &library) {
                Ok(output) => return Ok(output),
                Err(fault) => fault,
            };
        }
        Err(self.judge(fault, job, &library))
    }

    fn attempt(&mut self, job: &Job, library: &Library) -> Result<Output, Fault> {
        let iv_mode = self.token.config.iv_mode;
        let session = self.ready_session(library)?;
        let gcm =
            Gcm { functions: &library.gcm, session, key_handle: handle_of(&job.object, session)?, iv_mode };
        match &job.task {
            Task::Encrypt(request) => {
                job.object.count_invocation();
                let plaintext = request.plaintext.expose();
                let mut encrypted = gcm.encrypt(plaintext, request.aad.as_bytes())?;
                if request.integrity_value {
                    gcm.attach_integrity_value(&mut encrypted, plaintext, &request.aad)?;
                }
                Ok(Output::Encrypted(encrypted))
            }
            Task::Decrypt(request) => gcm
                .decrypt(&request.iv, &request.ciphertext_and_tag, request.aad.as_bytes())
                .map(Output::Decrypted),
        }
    }

    fn ready_session(&mut self, library: &Library) -> Result<&OpenSession, Fault> {
        let generation = self.token.module.generation();
        // A session of an older initialization is already closed.
        if self.session.as_ref().is_some_and(|session| session.generation != generation) {
            self.session = None;
            self.metrics.sessions.dec();
        }
        if self.session.is_none() {
            self.session = Some(self.token.open_session(library)?);
            self.metrics.sessions.inc();
        }
        self.session.as_ref().ok_or_else(|| Fault::new(Blame::Session, "no session"))
    }

    /// What the caller is told, and what is done to session and token. A fault about the caller's data keeps
    /// the session, or bad input would be a way to burn logins.
    fn judge(&mut self, mut fault: Fault, job: &Job, library: &Library) -> HsmError {
        if fault.blame == Blame::DataOrToken {
            fault.blame = self.tell_data_from_token(job, library);
        }
        match fault.blame {
            Blame::Data | Blame::DataOrToken => return HsmError::BadCiphertext,
            Blame::Length => return HsmError::TooLong,
            Blame::Usage => return HsmError::UsageRefused,
            Blame::Handle => {
                (self.alarm)();
                return HsmError::KeyMissing;
            }
            Blame::Session | Blame::Token | Blame::Pin => {}
        }
        // A call lost on its way to the token leaves its operation active: only a new session is clean.
        self.drop_session();
        self.metrics.fault(&fault.code);
        (self.alarm)();
        match fault.blame {
            Blame::Pin => HsmError::Unavailable(fault.what),
            Blame::Data
            | Blame::DataOrToken
            | Blame::Handle
            | Blame::Length
            | Blame::Session
            | Blame::Token
            | Blame::Usage => HsmError::Device(fault.what),
        }
    }

    /// A code that means both: if the same session encrypts and decrypts with the health key, and the key is
    /// still there, then the data was bad.
    fn tell_data_from_token(&mut self, job: &Job, library: &Library) -> Blame {
        let iv_mode = self.token.config.iv_mode;
        let health_object = self.health_object.load_full();
        let Ok(session) = self.ready_session(library) else { return Blame::Token };
        let Some(health_object) = health_object else { return Blame::Token };
        let trial = handle_of(&health_object, session).and_then(|key_handle| {
            Gcm { functions: &library.gcm, session, key_handle, iv_mode }.round_trip()
        });
        match trial {
            Ok(()) => {}
            Err(_) => return Blame::Token,
        }
        match inventory::exists(session.session(), &job.object, session.generation) {
            Ok(true) => Blame::Data,
            Ok(false) => Blame::Handle,
            Err(_) => Blame::Token,
        }
    }

    fn drop_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&self.token.module);
            self.metrics.sessions.dec();
        }
    }
}

/// The object's handle: remembered, or searched for, which happens once an initialization of the library.
pub(super) fn handle_of(object: &KeyObject, session: &OpenSession) -> Result<u64, Fault> {
    if let Some(handle) = object.handle(session.generation) {
        return Ok(handle);
    }
    let found = inventory::find_object(session.session(), &object.name)?
        .ok_or_else(|| Fault::new(Blame::Handle, "the key is not in the token"))?;
    object.remember_handle(session.generation, found.handle());
    Ok(found.handle())
}
