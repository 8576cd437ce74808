//! A worker: a thread that owns one session and takes jobs from the queue, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::domain::kms::KeptKey;
use crate::key_manager::backing_key::{
    DataKey, ImportedKey, KeyPair, MadeKey, RootKeyId, RootKeyWitness, WrappingKey,
};
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::backing_task::{BackingTask, Bench};
use crate::key_manager::pkcs11::engine::Shared;
use crate::key_manager::pkcs11::failover::mixed_up;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::key_copies::KeyCopies;
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::reply::JobReply;
use crate::key_manager::pkcs11::thread_session::ThreadSession;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::vault::{Means, Vault};
use crate::key_manager::signing_key::SigningKey;
use crate::key_manager::{Decrypt, Encrypt, Encrypted, HsmError};
use crate::metrics::HsmMetrics;
use crate::secret::SecretBytes;

/// A lost login, a dead copy and a dead object handle, one after the other.
const HEALINGS_MAX: usize = 3;

const ENCRYPT: &str = "encrypt";
const DECRYPT: &str = "decrypt";

/// Work for a worker: plain data, that could as well go to another process.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) enqueued: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: JobReply,
}

impl Job {
    /// Whether it is too late for it, or nobody wants it any more.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let is_unattended = matches!(self.task, Task::Backing(BackingTask::Sweep(_)));
        now >= self.deadline || (self.reply.is_closed() && !is_unattended)
    }

    /// How long it may take without being stuck, whatever the limit of others.
    pub(super) fn allowance(&self, now: Instant) -> Duration {
        let is_lengthy = matches!(&self.task, Task::Backing(task) if task.is_lengthy());
        if is_lengthy { self.deadline.saturating_duration_since(now) } else { Duration::ZERO }
    }
}

/// Where one worker gets its jobs from.
pub(super) trait Lane: Send {
    /// Waits for the next one; nothing once there will be none.
    fn next(&mut self) -> Option<Job>;
}

/// Where all of them do.
pub(super) trait JobSource {
    fn lane(&self, vault: &Arc<Vault>) -> Box<dyn Lane>;
}

/// The queue of this process.
impl JobSource for Arc<Shared> {
    fn lane(&self, _: &Arc<Vault>) -> Box<dyn Lane> {
        Box::new(Self::clone(self))
    }
}

impl Lane for Arc<Shared> {
    fn next(&mut self) -> Option<Job> {
        self.jobs.pop()
    }
}

#[derive(Clone)]
pub(super) enum Task {
    Encrypt { request: Arc<Encrypt>, object: Arc<KeyObject> },
    Decrypt { request: Arc<Decrypt>, object: Arc<KeyObject> },
    Backing(BackingTask),
}

pub(super) enum Output {
    Computed(SecretBytes),
    DataKey(DataKey),
    Decrypted(SecretBytes),
    Destroyed(()),
    Encrypted(Encrypted),
    Imported(ImportedKey),
    KeyPair(KeyPair),
    Made(MadeKey),
    Random(SecretBytes),
    Rewrapped(KeptKey),
    RootKey(RootKeyId),
    RootKeys(Vec<RootKeyId>),
    Sealed(Vec<u8>),
    Signature(Vec<u8>),
    SigningKey(SigningKey),
    Witness(RootKeyWitness),
    WrappingKey(WrappingKey),
    Swept,
}

macro_rules! answers {
    ($($name:ident: $Variant:ident($Type:ty);)*) => {
        /// The answer to what was asked.
        impl Output {
            $(pub(super) fn $name(self) -> Result<$Type, HsmError> {
                if let Self::$Variant(answer) = self { Ok(answer) } else { Err(mixed_up()) }
            })*
        }
    };
}

impl Task {
    /// Its name in metrics; housekeeping has none.
    pub(super) fn operation(&self) -> Option<&'static str> {
        match self {
            Self::Encrypt { .. } => Some(ENCRYPT),
            Self::Decrypt { .. } => Some(DECRYPT),
            Self::Backing(task) => task.operation(),
        }
    }
}

/// Measures a job that is done.
pub(super) fn observe(
    metrics: &HsmMetrics,
    operation: Option<&'static str>,
    queue_wait: Duration,
    hsm_time: Duration,
) {
    metrics.queue_wait.observe(queue_wait.as_secs_f64());
    match operation {
        Some(ENCRYPT) => metrics.encrypt.observe(hsm_time.as_secs_f64()),
        Some(DECRYPT) => metrics.decrypt.observe(hsm_time.as_secs_f64()),
        Some(operation) => metrics.observe_operation(operation, hsm_time.as_secs_f64()),
        None => {}
    }
}

answers! {
    computed: Computed(SecretBytes);
    data_key: DataKey(DataKey);
    decrypted: Decrypted(SecretBytes);
    destroyed: Destroyed(());
    encrypted: Encrypted(Encrypted);
    imported: Imported(ImportedKey);
    key_pair: KeyPair(KeyPair);
    made: Made(MadeKey);
    random: Random(SecretBytes);
    rewrapped: Rewrapped(KeptKey);
    root_key: RootKey(RootKeyId);
    root_keys: RootKeys(Vec<RootKeyId>);
    sealed: Sealed(Vec<u8>);
    signature: Signature(Vec<u8>);
    signing_key: SigningKey(SigningKey);
    witness: Witness(RootKeyWitness);
    wrapping_key: WrappingKey(WrappingKey);
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
    /// How long the present job may take without being stuck, whatever the limit of others.
    allowance_ms: AtomicU64,
}

impl Busy {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, since_ms: AtomicU64::new(0), allowance_ms: AtomicU64::new(0) }
    }

    pub(super) fn start(&self, now: Instant) {
        self.start_lengthy(now, Duration::ZERO);
    }

    pub(super) fn start_lengthy(&self, now: Instant, allowance: Duration) {
        let allowance_ms = u64::try_from(allowance.as_millis()).unwrap_or(u64::MAX);
        self.allowance_ms.store(allowance_ms, Ordering::Relaxed);
        self.since_ms.store(self.millis(now) + 1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    /// Whether the present job has gone on for longer than `limit`.
    pub(super) fn is_stuck(&self, now: Instant, limit: Duration) -> bool {
        let since = self.since_ms.load(Ordering::Relaxed);
        let limit_ms = limit.as_millis().max(self.allowance_ms.load(Ordering::Relaxed).into());
        since != 0 && u128::from(self.millis(now).saturating_sub(since - 1)) > limit_ms
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX - 1)
    }
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) lane: Box<dyn Lane>,
    pub(super) token: Arc<Token>,
    pub(super) session: ThreadSession,
    pub(super) vault: Arc<Vault>,
    pub(super) copies: Arc<KeyCopies>,
    pub(super) health_object: Arc<ArcSwapOption<KeyObject>>,
    pub(super) busy: Arc<Busy>,
    /// The login of the last job; zero before the first.
    pub(super) login: u64,
}

impl Worker {
    /// Works until there are no jobs any more.
    pub(super) fn run(mut self) {
        while let Some(job) = self.lane.next() {
            let started = self.shared.clock.instant();
            if job.is_stale(started) {
                continue;
            }
            self.busy.start_lengthy(started, job.allowance(started));
            let result = self.work(&job);
            self.busy.end();
            let hsm_time = self.shared.clock.instant().saturating_duration_since(started);
            let queue_wait = started.saturating_duration_since(job.enqueued);
            observe(&self.shared.metrics, job.task.operation(), queue_wait, hsm_time);
            job.reply.send(Completed { result, queue_wait, hsm_time });
        }
    }

    /// Tries again after a fault that a new session or a new search may heal. One can follow from the other:
    /// who was logged out finds all object handles dead after the next login.
    fn work(&mut self, job: &Job) -> Result<Output, HsmError> {
        let token = Arc::clone(&self.token);
        let library = token.module.library();
        let mut healed = 0;
        loop {
            match self.attempt(job, &library) {
                Ok(output) => return Ok(output),
                Err(fault) if fault.blame == Blame::DataOrToken => {
                    return self.ask_again(fault, job, &library);
                }
                // To make it again would hide it.
                Err(fault) if fault.is_corruption() => return Err(self.judge(fault, job, &library)),
                Err(fault) if healed < HEALINGS_MAX && self.heal(&fault, job, &library) => {
                    self.shared.metrics.fault(&fault.code);
                    healed += 1;
                }
                Err(fault) => return Err(self.judge(fault, job, &library)),
            }
        }
    }

    fn attempt(&mut self, job: &Job, library: &Library) -> Result<Output, Fault> {
        let ready = self.session.ready(library)?;
        let former_login = std::mem::replace(&mut self.login, ready.login);
        if former_login != ready.login && former_login != 0 {
            // All handles of the former login are dead: the watcher finds them faster than request by request.
            self.shared.alarm.raise();
        }
        let token = &*self.token;
        let gcm = |object| {
            let handle = self.copies.handle_of(object, ready, library)?;
            Ok::<_, Fault>(Gcm::with_handle(&library.functions, ready.session, handle, token.config.iv_mode))
        };
        match &job.task {
            Task::Encrypt { request, object } => {
                let gcm = gcm(object)?;
                object.count_invocation();
                let plaintext = request.plaintext.expose();
                let mut encrypted = gcm.encrypt(plaintext, request.aad.as_bytes())?;
                if request.integrity_value {
                    gcm.attach_integrity_value(&mut encrypted, plaintext, &request.aad)?;
                } else if token.config.check_encryptions {
                    gcm.check(&encrypted, plaintext, request.aad.as_bytes())?;
                }
                Ok(Output::Encrypted(encrypted))
            }
            Task::Decrypt { request, object } => gcm(object)?
                .decrypt(&request.iv, &request.ciphertext_and_tag, request.aad.as_bytes())
                .map(Output::Decrypted),
            Task::Backing(task) => {
                let means = Means { library, deadline: job.deadline };
                Bench { token, vault: &self.vault, ready, means }.perform(task)
            }
        }
    }

    /// True if the job is worth another attempt.
    fn heal(&mut self, fault: &Fault, job: &Job, library: &Library) -> bool {
        if self.shared.clock.instant() >= job.deadline {
            return false;
        }
        if fault.blame == Blame::Handle {
            match &job.task {
                Task::Encrypt { object, .. } | Task::Decrypt { object, .. } => {
                    // A copy may be gone while its original is where it was.
                    if !object.forget_copy() {
                        object.forget_handle();
                    }
                }
                Task::Backing(task) => {
                    let means = Means { library, deadline: job.deadline };
                    self.vault.forget_handle(task.material(), means);
                }
            }
            return true;
        }
        self.session.heal(fault, library)
    }

    /// The token said what it says both to bad data and when it is broken. If it works with the health key, it
    /// is asked once more, and believed.
    fn ask_again(&mut self, mut fault: Fault, job: &Job, library: &Library) -> Result<Output, HsmError> {
        if self.try_health_key(library).is_err() {
            fault.blame = Blame::Token;
            return Err(self.judge(fault, job, library));
        }
        match self.attempt(job, library) {
            Ok(output) => {
                self.shared.metrics.fault(&fault.code);
                Ok(output)
            }
            Err(mut fault) => {
                if fault.blame == Blame::DataOrToken {
                    fault.blame = self.tell_data_from_key(job, library);
                }
                Err(self.judge(fault, job, library))
            }
        }
    }

    /// kryoptic says GENERAL_ERROR for a key that another process destroyed, too.
    fn tell_data_from_key(&mut self, job: &Job, library: &Library) -> Blame {
        let vault = &self.vault;
        let exists = self.session.ready(library).and_then(|ready| match &job.task {
            Task::Encrypt { object, .. } | Task::Decrypt { object, .. } => inventory::exists(ready, object),
            Task::Backing(task) => vault.exists(task.material(), ready),
        });
        match exists {
            Ok(true) => Blame::Data,
            Ok(false) => Blame::Missing,
            Err(_) => Blame::Token,
        }
    }

    /// What the caller is told, and what is done to session and token. A fault about the caller's data keeps
    /// the session, or bad input would be a way to burn logins.
    fn judge(&mut self, fault: Fault, job: &Job, library: &Library) -> HsmError {
        match fault.blame {
            Blame::Busy => return HsmError::Busy,
            Blame::Data => return HsmError::BadCiphertext,
            Blame::Length => return HsmError::TooLong,
            Blame::Disconnected => return HsmError::Unavailable(fault.what),
            Blame::Usage => return HsmError::UsageRefused,
            Blame::ForeignKey => return HsmError::BadKeyMaterial,
            Blame::Unsupported => return HsmError::Unsupported(fault.what),
            Blame::Material => {
                self.shared.metrics.fault(&fault.code);
                // It has just unwrapped other material: nothing is wrong with the HSM.
                return HsmError::Unavailable(fault.what);
            }
            // A token that is gone answers as if it were empty.
            Blame::Missing if self.try_health_key(library).is_ok() => return self.tell_missing(fault, job),
            Blame::DataOrToken
            | Blame::Handle
            | Blame::Library
            | Blame::Login
            | Blame::Missing
            | Blame::Pin
            | Blame::Session
            | Blame::Token => {}
        }
        // A token that breaks between an encryption and its check looks like one that corrupts.
        let is_corruption =
            fault.is_corruption() && (fault.return_code.is_none() || !self.is_broken(library));
        // A call lost on its way to the token leaves its operation active: only a new session is clean.
        self.session.close(library);
        self.shared.metrics.fault(&fault.code);
        self.shared.alarm.raise();
        if is_corruption {
            HsmError::Corrupted(fault.what)
        } else if fault.blame == Blame::Pin {
            HsmError::Unavailable(fault.what)
        } else {
            HsmError::Device(fault.what)
        }
    }

    /// Whether calls fail with a key that is known to be good, other than by what they return.
    fn is_broken(&mut self, library: &Library) -> bool {
        self.try_health_key(library).is_err_and(|fault| {
            fault.return_code.is_some() && !matches!(fault.blame, Blame::Data | Blame::DataOrToken)
        })
    }

    fn tell_missing(&self, fault: Fault, job: &Job) -> HsmError {
        match &job.task {
            Task::Encrypt { object, .. } | Task::Decrypt { object, .. } => {
                object.remember_missing(self.token.login_number());
                self.shared.alarm.raise_for_keys();
                HsmError::KeyMissing
            }
            Task::Backing(_) => HsmError::Unavailable(fault.what),
        }
    }

    /// The call that failed may have left its operation active, if it never reached the token: that is no fault of it.
    fn try_health_key(&mut self, library: &Library) -> Result<(), Fault> {
        match self.try_health_key_once(library) {
            Err(fault) if self.session.heal(&fault, library) => self.try_health_key_once(library),
            result => result,
        }
    }

    fn try_health_key_once(&mut self, library: &Library) -> Result<(), Fault> {
        let object = self.health_object.load_full();
        let object = object.ok_or_else(|| Fault::new(Blame::Token, "the health key is not known"))?;
        let ready = self.session.ready(library)?;
        Gcm::new(&library.functions, ready, &object, self.token.config.iv_mode)?.round_trip()
    }
}
