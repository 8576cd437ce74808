//! The watcher: a thread of each HSM that probes it, reads its keys, and climbs the recovery ladder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::Receiver;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::key_manager::Lookup;
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory::Inventory;
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::token::{OpenSession, Product, Token};
use crate::key_manager::pkcs11::worker::handle_of;
use crate::metrics::HsmMetrics;

/// Initializing the library again ends the sessions of every token it serves: not more often than this.
const REINITIALIZE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) enum Command {
    /// Check deeply, and repair what can be repaired.
    Probe(oneshot::Sender<Result<Vitals, Fault>>),
    /// Read the keys again.
    Refresh(oneshot::Sender<Result<(), Fault>>),
    /// Use this PIN from now on.
    SetPin(crate::secret::SecretBytes),
}

/// What a successful probe learned.
#[derive(Clone, Debug)]
pub(super) struct Vitals {
    pub(super) product: Product,
    pub(super) duration: Duration,
}

pub(super) struct Watcher {
    pub(super) token: Arc<Token>,
    pub(super) inventory: Arc<ArcSwap<Inventory>>,
    pub(super) health_object: Arc<ArcSwapOption<KeyObject>>,
    pub(super) commands: Receiver<Command>,
    pub(super) metrics: Arc<HsmMetrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) session: Option<OpenSession>,
    /// The initialization for which the self-test passed.
    pub(super) tested_generation: u64,
    pub(super) last_reinitialization: Option<Instant>,
}

impl Watcher {
    /// Works until the HSM is dropped.
    pub(super) fn run(mut self) {
        while let Ok(command) = self.commands.recv() {
            match command {
                Command::Probe(reply) => drop(reply.send(self.probe())),
                Command::Refresh(reply) => drop(reply.send(self.refresh())),
                Command::SetPin(pin) => {
                    self.token.set_pin(&pin);
                    self.metrics.pin_rejected.set(0);
                    self.reinitialize_now();
                }
            }
        }
        self.drop_session();
    }

    /// A deep check; on a fault a new session, then a new initialization, each followed by another check.
    fn probe(&mut self) -> Result<Vitals, Fault> {
        let first = match self.check() {
            Ok(vitals) => return Ok(vitals),
            Err(fault) => fault,
        };
        self.report(&first);
        if first.blame == Blame::Pin {
            return Err(first);
        }
        self.drop_session();
        self.token.forget_login();
        if let Some(object) = self.health_object.load_full() {
            object.forget_handle();
        }
        let Err(second) = self.check() else { return self.check() };
        if !self.may_reinitialize() || second.blame == Blame::Pin {
            return Err(second);
        }
        self.reinitialize_now();
        self.check()
    }

    fn may_reinitialize(&self) -> bool {
        let now = self.clock.instant();
        self.last_reinitialization
            .is_none_or(|last| now.saturating_duration_since(last) >= REINITIALIZE_INTERVAL)
    }

    fn reinitialize_now(&mut self) {
        self.drop_session();
        self.last_reinitialization = Some(self.clock.instant());
        self.metrics.reinitializations.inc();
        if let Err(fault) = self.token.module.reinitialize(self.token.module.generation()) {
            self.report(&fault);
        }
    }

    /// Token as expected, keys read, IVs sound, and a round trip with the health key: session keys and
    /// session information go on looking well when the token is gone, so only a token key proves anything.
    fn check(&mut self) -> Result<Vitals, Fault> {
        let token = Arc::clone(&self.token);
        let library = token.module.library();
        let started = self.clock.instant();
        let product = self.check_token(&library)?;
        self.ready_session(&library)?;
        if self.tested_generation != token.module.generation() {
            self.read_keys(&library)?;
            self.with_health_key(&library, |gcm| gcm.self_test())?;
            self.tested_generation = token.module.generation();
        }
        self.with_health_key(&library, |gcm| gcm.round_trip())?;
        Ok(Vitals { product, duration: self.clock.instant().saturating_duration_since(started) })
    }

    fn check_token(&self, library: &Library) -> Result<Product, Fault> {
        let slot = self.token.find_slot(&library.pkcs11)?;
        let info = library.pkcs11.get_token_info(slot)?;
        if info.error_state() {
            return Err(Fault::new(Blame::Token, "the token reports an error state (CKF_ERROR_STATE)"));
        }
        if info.user_pin_locked() {
            self.metrics.pin_rejected.set(1);
            return Err(Fault::new(Blame::Pin, "the token reports a locked user PIN (CKF_USER_PIN_LOCKED)"));
        }
        if let Err(error) =
            library.pkcs11.get_mechanism_info(slot, cryptoki::mechanism::MechanismType::AES_GCM)
        {
            return Err(Fault::new(Blame::Token, format!("the token has no mechanism CKM_AES_GCM: {error}")));
        }
        Ok(Product::of(&info))
    }

    fn with_health_key(
        &self,
        library: &Library,
        test: impl Fn(&Gcm<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let label = &self.token.config.health_key;
        let missing = || Fault::new(Blame::Token, format!("the health key `{label}` is not in the token"));
        let object = self.health_object.load_full().ok_or_else(missing)?;
        let session = self.session.as_ref().ok_or_else(|| Fault::new(Blame::Session, "no session"))?;
        let key_handle = handle_of(&object, session)?;
        test(&Gcm { functions: &library.gcm, session, key_handle, iv_mode: self.token.config.iv_mode })
    }

    fn refresh(&mut self) -> Result<(), Fault> {
        let token = Arc::clone(&self.token);
        let library = token.module.library();
        self.ready_session(&library)?;
        let result = self.read_keys(&library);
        if let Err(fault) = &result {
            self.report(fault);
            self.drop_session();
        }
        result
    }

    fn read_keys(&self, _library: &Library) -> Result<(), Fault> {
        let session = self.session.as_ref().ok_or_else(|| Fault::new(Blame::Session, "no session"))?;
        let inventory = Inventory::read(session.session(), session.generation, &self.inventory.load())?;
        for id in inventory.ambiguous() {
            tracing::warn!(hsm = %self.token.config.name, key.id = %id, "several HSM keys answer to `{id}`; it is refused");
        }
        self.metrics.keys.set(i64::try_from(inventory.len()).unwrap_or(i64::MAX));
        let health_object = match inventory.find(&self.token.config.health_key) {
            Lookup::Found(key) => key.newest().map(|version| Arc::clone(&version.object)),
            Lookup::Missing | Lookup::Ambiguous => None,
        };
        self.health_object.store(health_object);
        self.inventory.store(Arc::new(inventory));
        Ok(())
    }

    fn ready_session(&mut self, library: &Library) -> Result<(), Fault> {
        let generation = self.token.module.generation();
        if self.session.as_ref().is_some_and(|session| session.generation != generation) {
            self.session = None;
        }
        if self.session.is_none() {
            self.session = Some(self.token.open_session(library)?);
        }
        Ok(())
    }

    fn drop_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&self.token.module);
        }
    }

    fn report(&self, fault: &Fault) {
        self.metrics.fault(&fault.code);
        self.metrics.pin_rejected.set(i64::from(self.token.is_pin_rejected()));
        tracing::warn!(hsm = %self.token.config.name, reason = %fault.what, "HSM fault: {}", fault.what);
    }
}
