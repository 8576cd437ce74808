//! What a cluster has the watcher of a member do, one thing at a time: all that is no job for a worker.

use std::sync::Arc;
use std::time::Instant;

use cryptoki::error::RvError;
use cryptoki::session::Session;
use cryptoki::types::AuthPin;
use tokio::sync::oneshot;

use crate::domain::{ExternalKeyId, KeyUsages};
use crate::key_manager::cluster::{ClusterError, ClusterKey};
use crate::key_manager::external_key::ObjectName;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory::{self, Inventory};
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::new_key::{self, NewKey};
use crate::key_manager::pkcs11::watcher::Watcher;
use crate::key_manager::{HsmError, Lookup};
use crate::secret::SecretBytes;

const USAGES: KeyUsages = KeyUsages { encrypt: true, decrypt: true };

pub(super) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// Skipped if nobody waits for the answer any more, unless it says otherwise.
pub(super) enum Order {
    ChangePin {
        old: SecretBytes,
        new: SecretBytes,
        reply: Reply<()>,
    },
    /// Whoever gave up wants the key gone all the same: never skipped.
    DestroyKey {
        label: ExternalKeyId,
        reply: Reply<Option<ClusterKey>>,
    },
    ListKeys(Reply<Vec<ClusterKey>>),
    /// With this PIN, of which nobody knows whether it is right; and makes the health key if there is none.
    LogIn {
        pin: SecretBytes,
        reply: Reply<()>,
    },
    /// Never skipped.
    LogOut(Reply<()>),
    /// Whether the token is there; nobody need be logged in.
    Look(Reply<()>),
    MakeKey {
        label: ExternalKeyId,
        deadline: Instant,
        reply: Reply<ClusterKey>,
    },
    /// Takes up whether the token has the key, which the next request may want to know: never skipped.
    ReadKey {
        label: ExternalKeyId,
        reply: Reply<bool>,
    },
}

impl Watcher {
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::ChangePin { old, new, reply } => {
                answer(reply, || self.attempt(|watcher, library| watcher.change_pin(&old, &new, library)));
            }
            Order::DestroyKey { label, reply } => {
                let _ = reply.send(self.attempt(|watcher, library| watcher.destroy_key(&label, library)));
            }
            Order::ListKeys(reply) => {
                answer(reply, || self.attempt(Self::list_keys));
            }
            Order::LogIn { pin, reply } => {
                // Who asked gave up before it was done.
                if !answer(reply, || self.log_in(&pin)) && self.token.disconnect_unless_wanted() {
                    let _ = self.log_out();
                }
            }
            Order::LogOut(reply) => drop(reply.send(self.log_out())),
            Order::Look(reply) => {
                answer(reply, || self.look_for_token());
            }
            Order::MakeKey { label, deadline, reply } => {
                let make =
                    |watcher: &mut Self, library: &Library| watcher.make_key(&label, deadline, library);
                if !answer(reply, || self.attempt(make)) {
                    let _ = self.attempt(|watcher, library| watcher.destroy_key(&label, library));
                }
            }
            Order::ReadKey { label, reply } => {
                let _ = reply.send(self.attempt(|watcher, library| watcher.read_key(&label, library)));
            }
        }
    }

    /// Once more with a new session, if that can help.
    fn attempt<T>(&mut self, work: impl Fn(&mut Self, &Library) -> Result<T, Fault>) -> Result<T, Fault> {
        let token = Arc::clone(&self.token);
        let library = token.module.library();
        let mut result = work(self, &library);
        if let Err(fault) = &result
            && self.session.heal(fault, &library)
        {
            result = work(self, &library);
        }
        if let Err(fault) = &result
            && !matches!(fault.blame, Blame::Busy | Blame::Disconnected | Blame::Pin | Blame::Usage)
        {
            self.shared.metrics.fault(&fault.code);
            self.session.close(&library);
            self.shared.alarm.raise();
        }
        result
    }

    /// Without a login there is no other sign of life. A library that serves nobody may be initialized for it.
    fn look_for_token(&mut self) -> Result<(), Fault> {
        let token = Arc::clone(&self.token);
        let result = self.look(&token.module.library()).map(drop);
        let is_ours_alone = !token.is_connected() && !token.module.is_in_service();
        if result.is_ok() || !is_ours_alone || !self.reinitialize_if_due(token.module.generation()) {
            return result;
        }
        self.look(&token.module.library()).map(drop)
    }

    fn log_in(&mut self, pin: &SecretBytes) -> Result<(), Fault> {
        let token = Arc::clone(&self.token);
        let others_work = token.module.is_in_service();
        if !others_work {
            self.reinitialize(token.module.generation());
        }
        let remembers_pin = token.module.library().functions.quirks.remembers_pin;
        let refused = token.log_in_with(pin, &token.module.library());
        match refused {
            // The library may compare with a PIN that another program has changed. Initializing it again ends the
            // sessions of its other tokens.
            Err(fault) if fault.blame == Blame::Pin && others_work && remembers_pin => {
                self.reinitialize(token.module.generation());
                token.log_in_with(pin, &token.module.library())?;
            }
            other => other?,
        }
        let library = token.module.library();
        let result = self.ensure_health_key(&library);
        if result.is_err() && token.disconnect_unless_wanted() {
            let _ = token.close_all_sessions(&library);
        }
        result
    }

    fn ensure_health_key(&mut self, library: &Library) -> Result<(), Fault> {
        let token = Arc::clone(&self.token);
        let label = &token.config.health_key;
        let ready = self.session.ready(library)?;
        if !inventory::find_labelled(ready.session, ready.objects, label)?.is_empty() {
            return Ok(());
        }
        let id = ExternalKeyId::parse(label);
        let id =
            id.map_err(|error| Fault::new(Blame::Usage, format!("the health key `{label}`: {error}")))?;
        let deadline = self.shared.clock.instant() + crate::key_manager::pkcs11::module::HANG_LIMIT;
        self.generate(id, deadline, library)
    }

    fn generate(&self, id: ExternalKeyId, deadline: Instant, library: &Library) -> Result<(), Fault> {
        self.with_rw_session(library, |session| {
            let _alone = self.token.objects.own(deadline)?;
            new_key::generate(session, &NewKey { id, usages: USAGES }, 1).map(drop)
        })
    }

    fn with_rw_session<T>(
        &self,
        library: &Library,
        work: impl FnOnce(&Session) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let session = self.token.open_rw_session(library)?;
        let result = work(&session);
        let _ = session.close();
        result
    }

    fn log_out(&mut self) -> Result<(), Fault> {
        self.rest();
        let token = Arc::clone(&self.token);
        token.close_all_sessions(&token.module.library())
    }

    fn change_pin(&self, old: &SecretBytes, new: &SecretBytes, library: &Library) -> Result<(), Fault> {
        self.with_rw_session(library, |session| Ok(session.set_pin(&text_pin(old)?, &text_pin(new)?)?))?;
        self.token.replace_pin(new);
        Ok(())
    }

    fn make_key(
        &mut self,
        label: &ExternalKeyId,
        deadline: Instant,
        library: &Library,
    ) -> Result<ClusterKey, Fault> {
        let ready = self.session.ready(library)?;
        if !inventory::find_labelled(ready.session, ready.objects, label.as_str())?.is_empty() {
            return Err(Fault::new(Blame::Usage, format!("the cluster has a key `{label}` already")));
        }
        self.generate(label.clone(), deadline, library)?;
        let made = self.show_key(label, library);
        if made.is_err() {
            let _ = self.destroy_key(label, library);
        }
        made
    }

    fn show_key(&mut self, label: &ExternalKeyId, library: &Library) -> Result<ClusterKey, Fault> {
        self.read_key(label, library)?;
        let ready = self.session.ready(library)?;
        let made = inventory::list(ready, Some(label.as_str()))?.into_iter().next();
        let made = made.map(|(name, handle)| cluster_key(name, handle.handle()));
        made.ok_or_else(|| Fault::new(Blame::Token, "the token does not show a key that it has made"))
    }

    fn destroy_key(&mut self, label: &ExternalKeyId, library: &Library) -> Result<Option<ClusterKey>, Fault> {
        let found = inventory::list(self.session.ready(library)?, Some(label.as_str()))?;
        if !found.is_empty() {
            self.with_rw_session(library, |session| {
                found.iter().try_for_each(|(_, handle)| match session.destroy_object(*handle) {
                    Err(cryptoki::error::Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => Ok(()),
                    other => Ok(other?),
                })
            })?;
        }
        self.read_key(label, library)?;
        Ok(found.into_iter().next().map(|(name, handle)| cluster_key(name, handle.handle())))
    }

    fn read_key(&mut self, label: &ExternalKeyId, library: &Library) -> Result<bool, Fault> {
        let ready = self.session.ready(library)?;
        let inventory = Inventory::read_label(ready, &self.shared.inventory.load(), label)?;
        let is_there = !matches!(inventory.find(label.as_str()), Lookup::Missing);
        if !is_there {
            self.prove(library)?;
        }
        self.shared.metrics.keys.set(i64::try_from(inventory.len()).unwrap_or(i64::MAX));
        self.shared.inventory.store(Arc::new(inventory));
        Ok(is_there)
    }

    fn list_keys(&mut self, library: &Library) -> Result<Vec<ClusterKey>, Fault> {
        let keys = inventory::list(self.session.ready(library)?, None)?;
        self.prove(library)?;
        let keys = keys.into_iter().filter(|(name, _)| name.label != self.token.config.health_key);
        Ok(keys.map(|(name, handle)| cluster_key(name, handle.handle())).collect())
    }

    /// A token that is gone answers as if it were empty.
    fn prove(&mut self, library: &Library) -> Result<(), Fault> {
        let object = self.health_object.load_full();
        let object = object.ok_or_else(|| Fault::new(Blame::Token, "the health key is not known"))?;
        let ready = self.session.ready(library)?;
        Gcm::new(&library.functions, ready, &object, self.token.config.iv_mode)?.round_trip()
    }
}

/// False if it was done for nobody.
fn answer<T>(reply: Reply<T>, work: impl FnOnce() -> Result<T, Fault>) -> bool {
    if reply.is_closed() {
        return true;
    }
    let result = work();
    let is_done = result.is_ok();
    reply.send(result).is_ok() || !is_done
}

fn text_pin(pin: &SecretBytes) -> Result<AuthPin, Fault> {
    let text = str::from_utf8(pin.expose());
    text.map(AuthPin::from).map_err(|_| Fault::new(Blame::Usage, "the password is not text"))
}

fn cluster_key(name: ObjectName, handle: u64) -> ClusterKey {
    let backing_key_id = name.id.iter().map(|byte| format!("{byte:02x}")).collect();
    ClusterKey { label: name.label, backing_key_id, key_handle: handle.to_string() }
}

impl From<Fault> for ClusterError {
    fn from(fault: Fault) -> Self {
        match (fault.return_code, fault.blame) {
            (Some(RvError::PinIncorrect), _) => Self::InvalidCredentials,
            (Some(RvError::PinLocked), _) => Self::UserLockedOut,
            (Some(RvError::UserPinNotInitialized), _) => Self::UserNotFound,
            (
                Some(
                    RvError::UserAlreadyLoggedIn
                    | RvError::UserAnotherAlreadyLoggedIn
                    | RvError::UserTooManyTypes,
                ),
                _,
            ) => Self::UserLoggedIn,
            // No other HSM of the cluster is asked then.
            (_, Blame::Pin) => Self::InvalidCredentials,
            (_, Blame::Busy) => Self::Hsm(HsmError::Busy),
            (_, Blame::Disconnected) => Self::NotLoggedIn,
            _ => Self::Hsm(HsmError::Device(fault.what)),
        }
    }
}
