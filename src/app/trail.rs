//! The audit trail of the daemon: opened with the store, signed by the HSM, ended last.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use crate::app::{StartError, start_error};
use crate::audit::{
    AuditLog, Checkpoint, Expected, Link, Off, PublicKey, Sinks, SyslogSink, Trail, TrailParts,
};
use crate::clock::Clock;
use crate::config;
use crate::key_manager::signing_key::{SignDigest, SigningKey, SigningKeys};
use crate::logging::{self, LogSink};
use crate::metrics::AuditMetrics;
use crate::store::{Setting, Store};

const STARTED: &str = "the daemon was started";
const SWITCHED_OFF: &str = "the configuration has kms.audit.enabled = false";
/// How long the HSM may take to sign.
const SIGN_TIMEOUT: Duration = Duration::from_secs(5);
/// The same at the end of the program, and the disk may take as long.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two tries to sign.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// What the rest of the daemon lends.
pub(super) struct AuditParts {
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<dyn SigningKeys>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: AuditMetrics,
    /// Standard output.
    pub(super) output: LogSink,
}

/// The trail, and who signs it.
pub(super) struct Audit {
    /// Absent: switched off.
    trail: Option<Arc<Trail>>,
    parts: AuditParts,
    interval: Mutex<Duration>,
    signer: tokio::sync::Mutex<Signer>,
}

#[derive(Default)]
struct Signer {
    key: Option<SigningKey>,
    /// The last line that needs no signature: it is signed, or is a signature.
    signed: u64,
    /// Why the last try failed.
    failure: Option<String>,
}

impl Audit {
    pub(super) async fn open(config: &config::Audit, parts: AuditParts) -> Result<Self, StartError> {
        let (key, expected) = known(&*parts.store).await.map_err(start_error)?;
        let trail_parts = TrailParts {
            dir: config.dir.clone(),
            limits: config.limits.clone(),
            sinks: sinks(&config.sinks, &parts).map_err(start_error)?,
            key: key.as_ref().map(public_key),
            expected,
            clock: Arc::clone(&parts.clock),
            metrics: parts.metrics.clone(),
        };
        let trail = if config.enabled {
            Some(Arc::new(Trail::open(trail_parts, STARTED).map_err(start_error)?))
        } else {
            if config.dir.exists() {
                Trail::close(trail_parts, SWITCHED_OFF, LAST_TIMEOUT).map_err(start_error)?;
            }
            None
        };
        let signer = Signer { key, ..Signer::default() };
        Ok(Self {
            trail,
            parts,
            interval: Mutex::new(config.checkpoint_interval),
            signer: tokio::sync::Mutex::new(signer),
        })
    }

    /// Where records go.
    pub(super) fn log(&self) -> Arc<dyn AuditLog> {
        match &self.trail {
            Some(trail) => Arc::clone(trail) as Arc<dyn AuditLog>,
            None => Arc::new(Off),
        }
    }

    /// Other places for lines, if they change.
    pub(super) fn other_sinks(
        &self,
        config: &config::Audit,
        before: &config::Audit,
    ) -> Result<Option<Sinks>, String> {
        (config.sinks != before.sinks).then(|| sinks(&config.sinks, &self.parts)).transpose()
    }

    /// Takes up what can change while the daemon runs.
    pub(super) fn reload(&self, config: &config::Audit, sinks: Option<Sinks>) {
        let Some(trail) = &self.trail else { return };
        if let Some(sinks) = sinks {
            trail.set_sinks(sinks);
        }
        trail.set_limits(config.limits.clone());
        *self.interval.lock() = config.checkpoint_interval;
    }

    /// Signs what there is, before anything is added to it.
    pub(super) async fn sign_now(&self, may_make_key: bool) {
        self.sign(may_make_key, LAST_TIMEOUT).await;
    }

    /// Signs what is new, once in a while and when a file is finished. A key is made only if `may_make_key`.
    pub(super) async fn keep_signed(&self, may_make_key: impl Fn() -> bool) {
        let Some(trail) = &self.trail else { return };
        let mut is_signed = self.signer.lock().await.failure.is_none();
        loop {
            let interval = *self.interval.lock();
            let interval = if is_signed { interval } else { interval.min(RETRY_INTERVAL) };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = trail.rotated() => {}
            }
            is_signed = self.sign(may_make_key(), SIGN_TIMEOUT).await;
        }
    }

    /// Writes and signs the end.
    pub(super) async fn end(&self, reason: &str) {
        let Some(trail) = &self.trail else { return };
        trail.append_end(reason);
        self.sign(false, LAST_TIMEOUT).await;
        if !tokio::task::block_in_place(|| trail.end(LAST_TIMEOUT)) {
            tracing::error!("the disk hangs: the end of the audit trail may be missing");
        }
    }

    /// Signs the last line, unless that is signed already. Whether nothing is left to sign.
    async fn sign(&self, may_make_key: bool, timeout: Duration) -> bool {
        let Some(trail) = &self.trail else { return true };
        let mut signer = self.signer.lock().await;
        let signing = self.try_sign(trail, (&mut signer, may_make_key), timeout);
        let result = match tokio::time::timeout(2 * timeout, signing).await {
            Ok(result) => result,
            Err(_) => Err("the disk or the HSM hangs".to_owned()),
        };
        let failure = result.err();
        if let Some(reason) = &failure
            && signer.failure.is_none()
        {
            tracing::warn!(reason, "the audit trail is not signed, which is tried again: {reason}");
        } else if failure.is_none() && signer.failure.is_some() {
            tracing::info!("the audit trail is signed again");
        }
        signer.failure = failure;
        signer.failure.is_none()
    }

    async fn try_sign(
        &self,
        trail: &Trail,
        (signer, may_make_key): (&mut Signer, bool),
        timeout: Duration,
    ) -> Result<(), String> {
        let mut last = trail.sync().await.map_err(|unkept| unkept.to_string())?;
        if last.sequence <= signer.signed {
            self.note_signed();
            return Ok(());
        }
        let key = match &signer.key {
            Some(key) => key.clone(),
            None if may_make_key => {
                let key = self.find_or_make_key(timeout).await?;
                trail.set_key(public_key(&key));
                last = trail.sync().await.map_err(|unkept| unkept.to_string())?;
                signer.key.insert(key).clone()
            }
            None => return Err("there is no key for it yet".to_owned()),
        };
        let time = logging::timestamp(self.parts.clock.now());
        let checkpoint = Checkpoint::unsigned(last, time, key.id.to_string());
        let request = SignDigest { key: key.id, digest: sha256(checkpoint.text(trail.id()).as_bytes()) };
        let deadline = self.parts.clock.instant() + timeout;
        let signature = self.parts.keys.sign(request, deadline).await.result;
        let signature = signature.map_err(|error| error.to_string())?;
        trail.append_checkpoint(&checkpoint.with_signature(&signature));
        let end = trail.sync().await.map_err(|unkept| unkept.to_string())?;
        // What came in between is to be signed next time: without it, the signature is the only new line.
        let is_quiet = end.sequence == last.sequence + 1;
        signer.signed = if is_quiet { end.sequence } else { last.sequence };
        self.note_signed();
        self.remember(trail.id(), end).await
    }

    /// There is nothing now that is to be signed.
    fn note_signed(&self) {
        let now = i64::try_from(self.parts.clock.unix_seconds()).unwrap_or(i64::MAX);
        self.parts.metrics.checkpoint_timestamp.set(now);
    }

    /// Whoever cuts the end of the trail off has to change the store too.
    async fn remember(&self, trail_id: &str, end: Link) -> Result<(), String> {
        let Link { sequence, hash } = end;
        let end = Expected { trail_id: trail_id.to_owned(), sequence, hash };
        self.parts.store.set(Setting::TrailEnd, end.to_bytes()).await.map_err(|error| error.to_string())
    }

    /// The key that the store knows, or else a new one: no other is ever used.
    async fn find_or_make_key(&self, timeout: Duration) -> Result<SigningKey, String> {
        let store = &self.parts.store;
        let stored = store.setting(Setting::TrailKey).await.map_err(|error| error.to_string())?;
        let bytes = match stored {
            Some(bytes) => bytes,
            None => {
                let deadline = self.parts.clock.instant() + timeout;
                let made = self.parts.keys.make_signing_key(deadline).await.result;
                let made = made.map_err(|error| error.to_string())?;
                let set = store.set_once(Setting::TrailKey, made.to_bytes()).await;
                set.map_err(|error| error.to_string())?
            }
        };
        SigningKey::from_bytes(&bytes).ok_or_else(|| INVALID_KEY.to_owned())
    }
}

const INVALID_KEY: &str = "the store has no valid key for the audit trail";

/// What the store knows of the trail.
async fn known(store: &dyn Store) -> Result<(Option<SigningKey>, Option<Expected>), String> {
    let read = async |name| store.setting(name).await.map_err(|error| error.to_string());
    let key = read(Setting::TrailKey).await?;
    let key = key.map(|bytes| SigningKey::from_bytes(&bytes).ok_or(INVALID_KEY)).transpose()?;
    let end = read(Setting::TrailEnd).await?;
    let invalid = "the store has no valid end of the audit trail";
    let end = end.map(|bytes| Expected::parse(&bytes).ok_or(invalid)).transpose()?;
    Ok((key, end))
}

fn public_key(key: &SigningKey) -> PublicKey {
    PublicKey::new(key.id.to_string(), &key.public_key)
}

fn sha256(text: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest(&SHA256, text).as_ref()).for_each(|(place, byte)| *place = *byte);
    hash
}

fn sinks(config: &config::AuditSinks, parts: &AuditParts) -> Result<Sinks, String> {
    let dropped = |sink| parts.metrics.sink_lines_dropped.with_label_values(&[sink]);
    let start = |syslog| SyslogSink::start(syslog, Arc::clone(&parts.clock), dropped("syslog"));
    let syslog = config.syslog.as_ref().map(start).transpose().map_err(|error| error.to_string())?;
    let stdout = config.stdout.then(|| parts.output.counting(dropped("stdout")));
    Ok(Sinks { stdout, syslog })
}
