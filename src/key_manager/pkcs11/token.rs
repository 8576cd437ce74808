//! One token of a module: finding it, logging in, opening sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use parking_lot::Mutex;
use secrecy::SecretString;

use crate::config;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::module::{Library, Module};
use crate::secret::SecretBytes;

/// A token as configured, and our login to it.
pub(super) struct Token {
    pub(super) config: config::Hsm,
    pub(super) module: Arc<Module>,
    pin: ArcSwap<AuthPin>,
    /// Set when the token refused the PIN: trying again locks users out of HSMs.
    pin_rejected: AtomicBool,
    login: Mutex<Option<Login>>,
}

/// Login is per process and token (PKCS#11 3.1, C_Login). The anchor session does nothing but exist: closing
/// the last session would log us out and end every object handle.
struct Login {
    generation: u64,
    slot: Slot,
    anchor: Session,
}

/// An open session and the initialization of the library that it belongs to.
pub(super) struct OpenSession {
    pub(super) generation: u64,
    session: Session,
}

impl Token {
    pub(super) fn new(config: config::Hsm, module: Arc<Module>, pin: &SecretBytes) -> Self {
        Self {
            config,
            module,
            pin: ArcSwap::from_pointee(auth_pin(pin)),
            pin_rejected: AtomicBool::new(false),
            login: Mutex::new(None),
        }
    }

    /// Takes a new PIN, and so may try again.
    pub(super) fn set_pin(&self, pin: &SecretBytes) {
        self.pin.store(Arc::new(auth_pin(pin)));
        self.pin_rejected.store(false, Ordering::Release);
    }

    pub(super) fn is_pin_rejected(&self) -> bool {
        self.pin_rejected.load(Ordering::Acquire)
    }

    /// Opens a session for crypto on a token that is logged in, logging in first if need be.
    pub(super) fn open_session(&self, library: &Library) -> Result<OpenSession, Fault> {
        let generation = self.module.generation();
        let slot = self.log_in(&library.pkcs11, generation)?;
        let session = library.pkcs11.open_ro_session_no_drop(slot)?;
        Ok(OpenSession { generation, session })
    }

    /// Forgets the login, so that the next session finds the token and logs in anew.
    pub(super) fn forget_login(&self) {
        if let Some(login) = self.login.lock().take()
            && login.generation == self.module.generation()
        {
            let _ = login.anchor.close();
        }
    }

    fn log_in(&self, pkcs11: &Pkcs11, generation: u64) -> Result<Slot, Fault> {
        let mut login = self.login.lock();
        if let Some(login) = login.as_ref().filter(|login| login.generation == generation) {
            return Ok(login.slot);
        }
        let slot = self.find_slot(pkcs11)?;
        let anchor = pkcs11.open_rw_session_no_drop(slot)?;
        self.try_pin(&anchor)?;
        *login = Some(Login { generation, slot, anchor });
        Ok(slot)
    }

    fn try_pin(&self, session: &Session) -> Result<(), Fault> {
        if self.is_pin_rejected() {
            return Err(Fault::new(
                Blame::Pin,
                "the HSM refused the PIN; it is not tried again until it changes",
            ));
        }
        match session.login(UserType::User, Some(&self.pin.load())) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let fault = Fault::from(error);
                if fault.blame == Blame::Pin {
                    self.pin_rejected.store(true, Ordering::Release);
                }
                Err(fault)
            }
        }
    }

    /// By label and serial, never by slot number: tokens and proxies renumber.
    pub(super) fn find_slot(&self, pkcs11: &Pkcs11) -> Result<Slot, Fault> {
        let mut matches = Vec::new();
        for slot in pkcs11.get_slots_with_token()? {
            if pkcs11.get_token_info(slot).is_ok_and(|info| self.is_named(&info)) {
                matches.push(slot);
            }
        }
        let label = &self.config.token_label;
        match *matches {
            [slot] => Ok(slot),
            [] => Err(Fault::new(Blame::Token, format!("no token is labelled `{label}`"))),
            _ => Err(Fault::new(
                Blame::Token,
                format!("several tokens are labelled `{label}`; set `token_serial`"),
            )),
        }
    }

    pub(super) fn is_named(&self, info: &TokenInfo) -> bool {
        info.label().trim_end() == self.config.token_label
            && self.config.token_serial.as_deref().is_none_or(|serial| info.serial_number().trim() == serial)
    }
}

impl OpenSession {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Closes it, unless its library was initialized anew: then the number may be another session's.
    pub(super) fn close(self, module: &Module) {
        if self.generation == module.generation() {
            let _ = self.session.close();
        }
    }
}

fn auth_pin(pin: &SecretBytes) -> AuthPin {
    SecretString::from(String::from_utf8_lossy(pin.expose()).into_owned())
}

/// What `ekmVendor` and `ekmFleetDetails` say of the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) vendor: String,
    /// Model, hardware and firmware version.
    pub(super) model: String,
}

impl Product {
    pub(super) fn of(info: &TokenInfo) -> Self {
        let (model, hardware, firmware) =
            (info.model().trim(), info.hardware_version(), info.firmware_version());
        Self {
            vendor: info.manufacturer_id().trim().to_owned(),
            model: format!("{model} hardware {hardware} firmware {firmware}"),
        }
    }
}
