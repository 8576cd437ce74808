//! Root keys: opened at the start, made, rotated and retired by whoever has the control socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::app::administration::LocalChange;
use crate::app::build::{Parts, Starter};
use crate::app::kms::KmsFace;
use crate::app::rewrapping::Progress;
use crate::app::{StartError, start_error};
use crate::config;
use crate::json::{Object, push_array, push_text};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::{ProvenRootKey, RootKeyAdmin, RootKeyId, RootKeyProof, RootKeys};
use crate::key_manager::pkcs11::WrappedKeyGroup;
use crate::secret::SecretBytes;
use crate::store::{RootKeyRotation, Setting, StoreError};

/// How long an HSM may take to find or make a root key.
const ROOT_KEY_TIMEOUT: Duration = Duration::from_secs(10);
/// Sealed once, to know the root key by.
const ROOT_KEY_CHECK: &[u8] = b"holdfast root key check";
/// Most requests that read something under a root key before it was forgotten are over by then. One that is slower
/// fails and may be sent again; what it has made under that root key the store does not take.
const RETIREMENT_GRACE: Duration = Duration::from_secs(2);

/// What is asked through the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKeyRequest {
    List,
    /// To this root key, which is in every HSM; without one, to a new one.
    Rotate {
        to: Option<String>,
    },
    /// One that the store does not know may be that of another installation.
    Retire {
        id: String,
        keep_in_hsm: bool,
        unknown: bool,
    },
    Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKeyAnswer {
    Listed(Vec<RootKeysInHsm>),
    /// It has to be copied to these HSMs, and nothing else was done.
    Made {
        id: String,
        missing_in: Vec<String>,
    },
    Retired {
        id: String,
        destroyed_in: Vec<String>,
        failures: Vec<String>,
    },
    Rotated {
        from: String,
        to: String,
    },
    Status {
        current: ShownRootKey,
        former: Option<ShownRootKey>,
        failure: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKeysInHsm {
    pub hsm: String,
    pub ids: Vec<String>,
    pub failure: Option<String>,
    pub current: String,
    pub former: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRootKey {
    pub id: String,
    /// Key material and secrets under it.
    pub uses: u64,
    pub missing_in: Vec<String>,
}

/// Root keys, and what is being done about them.
pub(super) struct RootKeyWork {
    pub(super) admin: Arc<dyn RootKeyAdmin>,
    /// One administrator after the other.
    changing: tokio::sync::Mutex<()>,
    /// There is something to wrap again.
    pub(super) wake: Notify,
    pub(super) progress: Mutex<Progress>,
    /// So many identities and secrets of theirs are under a root key that is missing.
    unread_identities: AtomicUsize,
}

impl RootKeyWork {
    pub(super) fn new(admin: Arc<dyn RootKeyAdmin>) -> Self {
        Self {
            admin,
            changing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            progress: Mutex::default(),
            unread_identities: AtomicUsize::default(),
        }
    }
}

impl KmsFace {
    /// Finds the root key that this store's keys are wrapped by; the first time, makes one. Tried again until it
    /// succeeds.
    pub(super) async fn open_root_key(&self) -> bool {
        let result = self.try_open_root_key().await;
        let mut obstacle = self.obstacle.lock();
        if let Err(reason) = &result
            && obstacle.as_ref() != Some(reason)
        {
            tracing::error!(reason, "KMS keys cannot be used: {reason}");
        }
        *obstacle = result.as_ref().err().cloned();
        result.is_ok()
    }

    async fn try_open_root_key(&self) -> Result<(), String> {
        let deadline = self.root_key_deadline();
        match self.store.root_keys().await.map_err(text)? {
            Some(keys) => {
                self.root_keys.admin.open_root_keys(keys, deadline).await.result.map(drop).map_err(text)?
            }
            None => {
                let made = self.backing_keys.open_root_key(None, deadline).await.result.map_err(text)?;
                self.store.set_once(Setting::RootKeyId, made.0.to_vec()).await.map_err(text)?;
            }
        }
        self.check_root_key(Setting::RootKeyCheck).await?;
        self.load_identities().await
    }

    /// Without those that nobody can read as long as the former root key is missing.
    async fn load_identities(&self) -> Result<(), String> {
        let unread = self.registry.load().await.map_err(text)?;
        self.root_keys.unread_identities.store(unread, Ordering::Relaxed);
        Ok(())
    }

    /// The keys that are under the current root key do not wait for the former one.
    pub(super) async fn check_former_root_key(&self, former: RootKeyId) -> Result<(), String> {
        if self.store.setting(Setting::FormerRootKeyCheck).await.map_err(text)?.is_some() {
            let checked = self.check_root_key(Setting::FormerRootKeyCheck).await;
            checked.map_err(|reason| format!("root key {former}, the former one: {reason}"))?;
        }
        if self.unread_identities() > 0 { self.load_identities().await } else { Ok(()) }
    }

    pub(super) fn unread_identities(&self) -> usize {
        self.root_keys.unread_identities.load(Ordering::Relaxed)
    }

    /// A root key of the same id that is another key would make every key of the store look damaged.
    async fn check_root_key(&self, name: Setting) -> Result<(), String> {
        let deadline = self.root_key_deadline();
        let context = check_context();
        let sealed = match self.store.setting(name).await.map_err(text)? {
            Some(sealed) => sealed,
            None => {
                let secret = SecretBytes::new(ROOT_KEY_CHECK.to_vec());
                let sealed = self.backing_keys.seal(secret, context.clone(), deadline).await.result;
                self.store.set_once(name, sealed.map_err(text)?).await.map_err(text)?
            }
        };
        match self.backing_keys.unseal(sealed, context, deadline).await.result {
            Ok(text) if text.expose() == ROOT_KEY_CHECK => Ok(()),
            Ok(_) => {
                Err("the root key in the HSM is not the one that the store's keys are wrapped by".to_owned())
            }
            Err(error) => Err(format!("the root key in the HSM cannot open what it sealed: {error}")),
        }
    }

    fn root_key_deadline(&self) -> Instant {
        self.clock.instant() + ROOT_KEY_TIMEOUT
    }

    /// Answers a request of `holdfast root-key`.
    pub(super) async fn administer_root_keys(&self, request: &str) -> Result<String, String> {
        let request: RootKeyRequest = serde_json::from_str(request).map_err(text)?;
        let _one_at_a_time = self.root_keys.changing.lock().await;
        let known = self.known_root_keys().await?;
        let answer = match request {
            RootKeyRequest::List => self.list_root_keys(known).await,
            RootKeyRequest::Rotate { to } => {
                self.require_usable()?;
                self.rotate_root_key(known, to.as_deref()).await?
            }
            RootKeyRequest::Retire { id, keep_in_hsm, unknown } => {
                let id = RootKeyId::parse(&id).ok_or_else(|| format!("{id} is not the id of a root key"))?;
                let is_known = known.former == Some(id);
                if !is_known && (keep_in_hsm || !unknown) {
                    return Err(refused_retirement(known, id));
                }
                if !is_known {
                    self.require_usable()?;
                }
                self.retire_root_key(known, id, (keep_in_hsm, unknown)).await?
            }
            RootKeyRequest::Status => self.root_key_status(known).await?,
        };
        serde_json::to_string(&answer).map_err(text)
    }

    /// What is wrong is looked at, and the former root key retired, whatever it is.
    fn require_usable(&self) -> Result<(), String> {
        let obstacle = self.obstacles().into_iter().next();
        obstacle.map_or(Ok(()), |reason| Err(format!("the root keys cannot be used now: {reason}")))
    }

    async fn known_root_keys(&self) -> Result<RootKeys, String> {
        let known = self.store.root_keys().await.map_err(text)?;
        known.ok_or_else(|| "there is no root key yet".to_owned())
    }

    async fn list_root_keys(&self, known: RootKeys) -> RootKeyAnswer {
        let members = self.root_keys.admin.list_root_keys(self.root_key_deadline()).await;
        let listed = members.into_iter().map(|(hsm, found)| RootKeysInHsm {
            hsm,
            failure: found.as_ref().err().map(ToString::to_string),
            ids: found.unwrap_or_default().iter().map(ToString::to_string).collect(),
            current: known.current.to_string(),
            former: known.former.map(|id| id.to_string()),
        });
        RootKeyAnswer::Listed(listed.collect())
    }

    async fn root_key_status(&self, known: RootKeys) -> Result<RootKeyAnswer, String> {
        let uses = self.store.root_key_uses().await.map_err(text)?;
        let members = self.root_keys.admin.list_root_keys(self.root_key_deadline()).await;
        let shown = |id: RootKeyId, uses| ShownRootKey {
            id: id.to_string(),
            uses,
            missing_in: lacking(&members, id),
        };
        let obstacle = self.obstacles().into_iter().next();
        let failure = obstacle.or_else(|| self.root_keys.progress.lock().failure.clone());
        Ok(RootKeyAnswer::Status {
            current: shown(known.current, uses.current),
            former: known.former.map(|id| shown(id, uses.others)),
            failure,
        })
    }

    async fn rotate_root_key(&self, known: RootKeys, to: Option<&str>) -> Result<RootKeyAnswer, String> {
        if let Some(former) = known.former {
            return Err(format!(
                "the rotation from root key {former} is not over: see `status`, then `retire` it"
            ));
        }
        let asked =
            to.map(|to| RootKeyId::parse(to).ok_or_else(|| format!("{to} is not the id of a root key")));
        let is_new = asked.is_none();
        let to = match asked.transpose()? {
            Some(to) => to,
            None => {
                let made = change("CreateRootKey", &[]);
                let making = self.root_keys.admin.make_root_key(self.root_key_deadline());
                let making = async { making.await.result.map_err(text) };
                let trail = self.audit.log();
                made.recorded((&*trail, &*self.clock), making, |id| Some(parameters(&[("rootKeyId", id)])))
                    .await?
            }
        };
        if to == known.current {
            return Err(format!("root key {to} is the current one already"));
        }
        let proven = self.prove_root_key(to).await;
        let Some(check) = proven.sealed else {
            let members = self.root_keys.admin.list_root_keys(self.root_key_deadline()).await;
            let missing_in = lacking(&members, to);
            if is_new && !missing_in.is_empty() {
                return Ok(RootKeyAnswer::Made { id: to.to_string(), missing_in });
            }
            let failed = |(hsm, result): &(String, Result<(), HsmError>)| {
                result.as_ref().err().map(|error| format!("HSM {hsm}: {error}"))
            };
            let failures: Vec<_> = proven.members.iter().filter_map(failed).collect();
            return Err(format!("root key {to} does not serve in every HSM: {}", failures.join("; ")));
        };
        self.begin_rotation(RootKeyRotation { before: known.current, after: to, check }).await?;
        Ok(RootKeyAnswer::Rotated { from: known.current.to_string(), to: to.to_string() })
    }

    async fn prove_root_key(&self, id: RootKeyId) -> ProvenRootKey {
        let text = SecretBytes::new(ROOT_KEY_CHECK.to_vec());
        let proof = RootKeyProof { id, text, context: check_context(), witness: None };
        self.root_keys.admin.prove_root_key(proof, self.root_key_deadline()).await
    }

    /// In the store first: what the HSMs wrap by the new one before they are told is nothing.
    async fn begin_rotation(&self, rotation: RootKeyRotation) -> Result<(), String> {
        let (before, after) = (rotation.before, rotation.after);
        let asked = change("RotateRootKey", &[("from", &before), ("to", &after)]);
        let keys = RootKeys { current: after, former: Some(before) };
        let rotated = async {
            self.store.rotate_root_key(rotation).await.map_err(text)?;
            self.root_keys.admin.use_root_keys(keys);
            Ok(())
        };
        let trail = self.audit.log();
        asked.recorded((&*trail, &*self.clock), rotated, |()| None).await?;
        tracing::info!(from = %before, to = %after, "root key {after} is the current one");
        self.root_keys.wake.notify_one();
        Ok(())
    }

    async fn retire_root_key(
        &self,
        known: RootKeys,
        id: RootKeyId,
        (keep_in_hsm, unknown): (bool, bool),
    ) -> Result<RootKeyAnswer, String> {
        if id == known.current {
            return Err(format!("root key {id} is the current one: rotate first"));
        }
        let asked = retirement(id, (keep_in_hsm, unknown));
        let retired = async {
            if known.former == Some(id) {
                self.forget_root_key(known, id).await?;
            }
            if keep_in_hsm {
                return Ok(Vec::new());
            }
            Ok(self.root_keys.admin.destroy_root_key(id, self.root_key_deadline()).await)
        };
        let trail = self.audit.log();
        let answers =
            asked.recorded((&*trail, &*self.clock), retired, |answers| Some(destroyed_in(answers))).await?;
        let (destroyed, failed): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, result)| result.is_ok());
        let failure = |(hsm, result): (String, Result<(), HsmError>)| {
            result.err().map(|error| format!("HSM {hsm} may still have it: {error}"))
        };
        tracing::info!(root_key = %id, "root key {id} is retired");
        Ok(RootKeyAnswer::Retired {
            id: id.to_string(),
            destroyed_in: destroyed.into_iter().map(|(hsm, _)| hsm).collect(),
            failures: failed.into_iter().filter_map(failure).collect(),
        })
    }

    /// From here on nothing can come under it, nor be opened with it.
    async fn forget_root_key(&self, known: RootKeys, id: RootKeyId) -> Result<(), String> {
        match self.store.retire_root_key(id).await {
            Ok(()) => {}
            Err(StoreError::NotEmpty) => {
                let uses = self.store.root_key_uses().await.map_err(text)?;
                let others = uses.others;
                return Err(format!("root key {id} is still needed: {others} keys and secrets are under it"));
            }
            Err(error) => return Err(text(error)),
        }
        tokio::time::sleep(RETIREMENT_GRACE).await;
        self.root_keys.admin.use_root_keys(RootKeys::only(known.current));
        self.root_keys.wake.notify_one();
        Ok(())
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// HSMs that do not show this root key.
fn lacking(members: &[(String, Result<Vec<RootKeyId>, HsmError>)], id: RootKeyId) -> Vec<String> {
    let lacks = |found: &Result<Vec<RootKeyId>, HsmError>| !found.as_ref().is_ok_and(|ids| ids.contains(&id));
    members.iter().filter(|(_, found)| lacks(found)).map(|(hsm, _)| hsm.clone()).collect()
}

fn refused_retirement(known: RootKeys, id: RootKeyId) -> String {
    if id == known.current {
        return format!("root key {id} is the current one: rotate first");
    }
    format!(
        "root key {id} is not the former one: it may be that of another installation, or of a restored backup; \
             `--unknown` destroys it nevertheless"
    )
}

fn check_context() -> Vec<u8> {
    Setting::RootKeyCheck.as_str().as_bytes().to_vec()
}

fn change(name: &'static str, ids: &[(&'static str, &RootKeyId)]) -> LocalChange {
    let parameters = (!ids.is_empty()).then(|| parameters(ids));
    LocalChange { source: "kms.holdfast", name, by: "holdfast root-key", account: None, parameters }
}

fn retirement(id: RootKeyId, (keep_in_hsm, unknown): (bool, bool)) -> LocalChange {
    let mut json = Vec::new();
    let mut object = Object::begin(&mut json);
    object.text("rootKeyId", &id.to_string());
    object.boolean("keepInHsm", keep_in_hsm);
    object.boolean("unknown", unknown);
    object.end();
    LocalChange { parameters: Some(json), ..change("RetireRootKey", &[]) }
}

/// Which HSMs have destroyed a root key, and which may still have it.
fn destroyed_in(answers: &[(String, Result<(), HsmError>)]) -> Vec<u8> {
    let mut json = Vec::new();
    let mut object = Object::begin(&mut json);
    for (name, is_destroyed) in [("destroyedIn", true), ("failedIn", false)] {
        let hsms = answers.iter().filter(|(_, result)| result.is_ok() == is_destroyed);
        push_array(object.member(name), hsms, |json, (hsm, _)| push_text(json, hsm));
    }
    object.end();
    json
}

fn parameters(ids: &[(&'static str, &RootKeyId)]) -> Vec<u8> {
    let mut json = Vec::new();
    let mut object = Object::begin(&mut json);
    ids.iter().for_each(|(name, id)| object.text(name, &id.to_string()));
    object.end();
    json
}

/// Whether the HSMs of this configuration have the root keys that a backup needs.
pub fn find_root_keys(config: &config::Config, ids: &[RootKeyId]) -> Result<(), StartError> {
    let settings = config.kms.as_ref().ok_or_else(|| start_error("the configuration has no `[kms]`"))?;
    if ids.is_empty() {
        return Ok(());
    }
    let parts = Parts::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start_error)?;
    let _entered = runtime.enter();
    let mut starter = Starter::new(config, (&parts.clock, &parts.metrics), Arc::new(|_| {}))?;
    let (hsms, _pins) = starter.start_hsms(config)?;
    let members: Vec<_> = settings.hsms.iter().filter_map(|name| hsms.get(name)).cloned().collect();
    runtime.block_on(async {
        for member in &members {
            member.probe(ROOT_KEY_TIMEOUT).await;
        }
        let group = WrappedKeyGroup::new(members, &config.hedging, Arc::clone(&parts.clock));
        for id in ids {
            let deadline = parts.clock.instant() + ROOT_KEY_TIMEOUT;
            group
                .open_root_keys(RootKeys::only(*id), deadline)
                .await
                .result
                .map_err(|error| start_error(format!("root key {id}: {error}")))?;
        }
        Ok(())
    })
}
