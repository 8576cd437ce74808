//! The watcher: a thread of each HSM that probes it, reads its keys, and climbs the recovery ladder.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, select_biased};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;
use tokio::sync::{oneshot, watch};

use crate::config;
use crate::key_manager::Lookup;
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::engine::Shared;
use crate::key_manager::pkcs11::fault::{Blame, Fault, Remedy};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::key_copies::KeyCopies;
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::orders::Order;
use crate::key_manager::pkcs11::pace::Pace;
use crate::key_manager::pkcs11::pin_state::PinState;
use crate::key_manager::pkcs11::thread_session::ThreadSession;
use crate::key_manager::pkcs11::token::{Product, Token};
use crate::key_manager::pkcs11::token_info::TokenInfo;

pub(super) enum Command {
    /// Check deeply, and repair what can be repaired.
    Probe(oneshot::Sender<Result<Vitals, Fault>>),
    /// Read the keys again.
    Refresh(watch::Sender<Option<Result<(), Fault>>>),
}

/// What a successful probe learned.
#[derive(Clone, Debug)]
pub(super) struct Vitals {
    pub(super) product: Product,
    /// Of the checks alone, without what was repaired or read anew.
    pub(super) duration: Duration,
}

pub(super) struct Watcher {
    pub(super) shared: Arc<Shared>,
    pub(super) token: Arc<Token>,
    pub(super) session: ThreadSession,
    pub(super) copies: Arc<KeyCopies>,
    pub(super) health_object: Arc<ArcSwapOption<KeyObject>>,
    pub(super) commands: Receiver<Command>,
    pub(super) orders: Receiver<Order>,
    /// Orders too, which let the others go first.
    pub(super) searches: Receiver<Order>,
    pub(super) progress: Progress,
}

/// What the watcher remembers from command to command.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The login under which the keys were read and the self-test passed last; zero for none.
    login: u64,
    /// The initialization of the library that was checked last.
    generation: u64,
    in_service: bool,
    pace: Pace,
    /// What was logged last; a fault that stays is logged once.
    last_fault: String,
    pin_state: Cell<PinState>,
}

/// A rung of the recovery ladder.
#[derive(Clone, Copy)]
enum Rung {
    Session,
    Library,
}

impl Watcher {
    /// Works until the HSM is dropped.
    pub(super) fn run(mut self) {
        loop {
            select_biased! {
                recv(self.orders) -> order => match order {
                    Ok(order) => self.obey(order),
                    Err(_) => return,
                },
                recv(self.commands) -> command => match command {
                    Ok(command) => self.carry_out(command),
                    Err(_) => return,
                },
                recv(self.searches) -> order => match order {
                    Ok(order) => self.obey(order),
                    Err(_) => return,
                },
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            // Nobody waits for it any more: a call has hung meanwhile.
            Command::Probe(reply) if reply.is_closed() => {}
            Command::Probe(reply) => drop(reply.send(self.probe())),
            Command::Refresh(reply) => drop(reply.send_replace(Some(self.refresh()))),
        }
    }

    /// A deep check; on a fault a new session, then a new initialization, each followed by another check.
    fn probe(&mut self) -> Result<Vitals, Fault> {
        if let Some(outdated) = self.token.take_up_pin() {
            self.reinitialize(outdated);
        }
        if !self.token.is_connected() {
            self.rest();
            return Err(Fault::disconnected());
        }
        let mut result = self.check();
        if result.as_ref().is_err_and(|fault| fault.blame == Blame::Pin) && self.token.try_pin_again() {
            self.reinitialize(self.token.module.generation());
            result = self.check();
        }
        for rung in [Rung::Session, Rung::Library] {
            let Err(fault) = &result else { break };
            self.report(fault);
            match (fault.blame.remedy(), rung) {
                (Remedy::Keep | Remedy::Never, _) => break,
                // A new session cannot help.
                (Remedy::Reinitialize, Rung::Session) => continue,
                _ if self.climb(rung, fault) => {}
                _ => break,
            }
            result = self.check();
        }
        if result.is_ok() {
            self.shared.metrics.pin_rejected.set(0);
            self.progress.last_fault.clear();
            self.progress.pace.well();
        }
        self.set_in_service(result.is_ok());
        result
    }

    /// True if there is hope for another check.
    fn climb(&mut self, rung: Rung, fault: &Fault) -> bool {
        match rung {
            Rung::Session => {
                let token = Arc::clone(&self.token);
                let library = token.module.library();
                if let Some(object) = self.health_object.load_full() {
                    object.forget_handle();
                }
                if !self.session.heal(fault, &library) {
                    self.session.close(&library);
                }
                true
            }
            Rung::Library => {
                self.set_in_service(false);
                self.reinitialize_if_due(self.progress.generation)
            }
        }
    }

    pub(super) fn reinitialize_if_due(&mut self, seen: u64) -> bool {
        let others_work = self.token.module.is_in_service();
        let is_due = self.progress.pace.is_due(self.shared.clock.instant(), others_work);
        is_due && self.reinitialize(seen)
    }

    /// Unless another HSM of the library did so since the generation `seen`.
    pub(super) fn reinitialize(&mut self, seen: u64) -> bool {
        let started = self.shared.clock.instant();
        self.shared.metrics.reinitializations.inc();
        let result = self.token.module.reinitialize(seen);
        self.progress.pace.initialized(started, self.shared.clock.instant());
        if let Err(fault) = &result {
            self.report(fault);
        }
        result.is_ok()
    }

    /// What is left to do while nobody wants the token: it must disturb no other, nor the log.
    pub(super) fn rest(&mut self) {
        self.set_in_service(false);
        self.shared.metrics.pin_rejected.set(0);
        self.progress.last_fault.clear();
    }

    fn set_in_service(&mut self, in_service: bool) {
        if self.progress.in_service != in_service {
            self.progress.in_service = in_service;
            self.token.module.count_in_service(in_service);
        }
    }

    /// Token as expected, keys read, IVs sound, and a round trip with the health key: session keys and
    /// session information go on looking well when the token is gone, so only a token key proves anything.
    fn check(&mut self) -> Result<Vitals, Fault> {
        let token = Arc::clone(&self.token);
        let library = token.module.library();
        self.progress.generation = token.module.generation();
        let started = self.shared.clock.instant();
        let product = self.check_token(&library)?;
        if let Some(fault) = token.locked_out() {
            return Err(fault);
        }
        let login = self.session.ready(&library)?.login;
        let checked = self.shared.clock.instant();
        if self.progress.login != login || self.shared.alarm.take_keys_changed() {
            self.read_keys(&library)?;
        }
        let round_trip_started = self.shared.clock.instant();
        let object =
            self.health_object.load_full().ok_or_else(|| Self::no_health_key(&token.config.health_key))?;
        let ready = self.session.ready(&library)?;
        Gcm::new(&library.functions, ready, &object, token.config.iv_mode)?.round_trip()?;
        let duration = checked.saturating_duration_since(started)
            + self.shared.clock.instant().saturating_duration_since(round_trip_started);
        Ok(Vitals { product, duration })
    }

    /// Where the token is, if it is.
    pub(super) fn look(&self, library: &Library) -> Result<(Slot, TokenInfo), Fault> {
        let (slot, info) = self.token.find_slot(library)?;
        self.tell_pin_state(PinState::of(&info));
        if info.error_state() {
            return Err(Fault::new(Blame::Token, "the token reports an error state (CKF_ERROR_STATE)"));
        }
        Ok((slot, info))
    }

    /// What others do with the PIN, we hear of in time.
    fn tell_pin_state(&self, state: PinState) {
        self.shared.metrics.set_pin_state(state.label(), PinState::ALL);
        let before = self.progress.pin_state.replace(state);
        if let Some(words) = state.words().filter(|_| before != state) {
            let hsm = &self.token.config.name;
            tracing::warn!(%hsm, state = state.label(), "HSM {hsm}: {words}");
        }
    }

    fn check_token(&self, library: &Library) -> Result<Product, Fault> {
        let pkcs11 = library.pkcs11()?;
        let (slot, info) = self.look(library)?;
        match pkcs11.get_mechanism_info(slot, MechanismType::AES_GCM) {
            Ok(_) => Ok(Product::of(&info)),
            Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => {
                Err(Fault::new(Blame::Token, "the token has no mechanism CKM_AES_GCM"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn no_health_key(label: &str) -> Fault {
        Fault::new(Blame::Token, format!("the health key `{label}` is not in the token"))
    }

    fn refresh(&mut self) -> Result<(), Fault> {
        let token = Arc::clone(&self.token);
        let library = token.module.library();
        let result = self.read_keys(&library);
        if let Err(fault) = &result {
            if fault.blame == Blame::Disconnected {
                return result;
            }
            self.report(fault);
            self.session.close(&library);
            self.shared.alarm.raise();
        }
        result
    }

    /// Reads the keys, and takes them up if the health key among them works: a token that is gone answers as if
    /// it were empty, and believing it would make HSM trouble look like deleted keys. With a new login it has to
    /// pass the self-test too.
    fn read_keys(&mut self, library: &Library) -> Result<(), Fault> {
        // What changes from here on calls for another reading, and so does failing.
        self.shared.alarm.take_keys_changed();
        let tested = std::mem::take(&mut self.progress.login);
        let ready = self.session.ready(library)?;
        let inventory = Inventory::read(ready, &self.shared.inventory.load())?;
        let config = &self.token.config;
        let health_object = health_object(&inventory, config);
        let health_object = health_object.ok_or_else(|| Self::no_health_key(&config.health_key))?;
        let gcm = Gcm::new(&library.functions, ready, &health_object, config.iv_mode)?;
        if tested == ready.login {
            gcm.round_trip()?
        } else {
            gcm.self_test()?
        }
        self.progress.login = ready.login;
        for id in inventory.ambiguous().filter(|id| !is_made_by_us(config, id.as_str())) {
            tracing::warn!(hsm = %config.name, key.id = %id, "several HSM keys answer to `{id}`; it is refused");
        }
        self.shared.metrics.keys.set(i64::try_from(inventory.len()).unwrap_or(i64::MAX));
        self.health_object.store(Some(health_object));
        self.shared.inventory.store(Arc::new(inventory));
        self.copies.sweep(library);
        Ok(())
    }

    fn report(&mut self, fault: &Fault) {
        if fault.blame == Blame::Disconnected || !self.token.is_connected() {
            return;
        }
        self.shared.metrics.fault(&fault.code);
        self.shared
            .metrics
            .pin_rejected
            .set(i64::from(fault.blame == Blame::Pin || self.token.is_pin_rejected()));
        if self.progress.last_fault != fault.what {
            self.progress.last_fault.clone_from(&fault.what);
            tracing::warn!(hsm = %self.token.config.name, reason = %fault.what, "HSM fault: {}", fault.what);
        }
    }
}

/// Nodes that connect to a new cluster at once may each make a health key: any of them will do.
fn health_object(inventory: &Inventory, config: &config::Hsm) -> Option<Arc<KeyObject>> {
    match inventory.find(&config.health_key) {
        Lookup::Found(key) => key.newest().map(|version| Arc::clone(&version.object)),
        Lookup::Ambiguous if is_made_by_us(config, &config.health_key) => {
            let all = inventory.objects().filter(|object| object.name.label == config.health_key);
            all.min_by_key(|object| &object.name).map(Arc::clone)
        }
        Lookup::Ambiguous | Lookup::Missing => None,
    }
}

fn is_made_by_us(config: &config::Hsm, label: &str) -> bool {
    config.pin_file.is_none() && label == config.health_key
}
