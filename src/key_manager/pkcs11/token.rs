//! One token of a module: finding it, logging in, opening sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use secrecy::SecretBox;

use crate::config;
use crate::key_manager::pkcs11::fault::{Blame, Doing, Fault};
use crate::key_manager::pkcs11::module::{HANG_LIMIT, Library, Module};
use crate::key_manager::pkcs11::pin_state::PinState;
use crate::key_manager::pkcs11::refused_pin::{Permission, RefusedPin};
use crate::key_manager::pkcs11::token_info::TokenInfo;
use crate::secret::SecretBytes;

/// A token as configured, and our login to it.
pub(super) struct Token {
    pub(super) config: config::Hsm,
    pub(super) module: Arc<Module>,
    /// Absent in a cluster whose key store is not connected.
    pin: Mutex<Option<Arc<RawAuthPin>>>,
    /// Another PIN, until the watcher takes it up.
    new_pin: Mutex<Option<NewPin>>,
    /// Goes up when the key store is disconnected: logins and sessions from before are not ours any more.
    connection: AtomicU64,
    /// Set when the token refused the PIN: trying again locks users out of HSMs.
    pin_rejected: AtomicBool,
    /// Over restarts.
    refused_pin: RefusedPin,
    /// Set while the token is not asked because the next wrong PIN would lock the user.
    is_held_back: AtomicBool,
    /// Set when somebody wants the PIN to be tried, even if it is the last try.
    is_demanded: AtomicBool,
    /// Set when the PIN was changed through another HSM: if it is refused, it is tried once more.
    pin_may_be_too_new: AtomicBool,
    login: Mutex<Option<Login>>,
    /// Goes up with every login. Object handles belong to one: they die with it (PKCS#11 3.1, C_Logout).
    login_number: AtomicU64,
    pub(super) objects: Arc<ObjectLock>,
}

struct NewPin {
    pin: Arc<RawAuthPin>,
    /// SoftHSM compares PINs with what it read when it was initialized: the initialization that is too old.
    outdated: Option<u64>,
}

/// Searches share it and creations have it alone: SoftHSM 2.6 makes nameless objects when both happen at once.
#[derive(Debug, Default)]
pub(super) struct ObjectLock(RwLock<()>);

impl ObjectLock {
    pub(super) fn share(&self) -> Result<RwLockReadGuard<'_, ()>, Fault> {
        self.0.try_read_for(HANG_LIMIT).ok_or_else(Self::hangs)
    }

    pub(super) fn own(&self, deadline: Instant) -> Result<RwLockWriteGuard<'_, ()>, Fault> {
        self.0.try_write_until(deadline).ok_or_else(Self::hangs)
    }

    fn hangs() -> Fault {
        Fault::new(Blame::Busy, "a search or creation of keys in the token has not returned")
    }
}

/// Login is per process and token (PKCS#11 3.1, C_Login). The anchor session does nothing but exist: closing
/// the last session would log us out and end every object handle.
struct Login {
    generation: u64,
    connection: u64,
    slot: Slot,
    anchor: Session,
}

/// An open session, and the initialization of the library and the login under which it was opened.
pub(super) struct OpenSession {
    generation: u64,
    connection: u64,
    pub(super) login: u64,
    session: Session,
}

impl Token {
    pub(super) fn new(config: config::Hsm, module: Arc<Module>, pin: Option<&SecretBytes>) -> Self {
        let refused_pin = RefusedPin::of(&config);
        let permission = refused_pin.permission();
        Self {
            objects: module.object_lock(&config.token_label),
            refused_pin,
            is_held_back: AtomicBool::new(false),
            is_demanded: AtomicBool::new(permission == Permission::Demanded),
            config,
            module,
            pin: Mutex::new(pin.map(auth_pin)),
            new_pin: Mutex::new(None),
            connection: AtomicU64::new(0),
            pin_rejected: AtomicBool::new(permission == Permission::Refused),
            pin_may_be_too_new: AtomicBool::new(false),
            login: Mutex::new(None),
            login_number: AtomicU64::new(0),
        }
    }

    /// Another PIN, to be taken up by whoever can also initialize the library again.
    pub(super) fn offer_pin(&self, pin: &SecretBytes, reinitialize: bool) {
        let outdated = reinitialize.then(|| self.module.generation());
        *self.new_pin.lock() = Some(NewPin { pin: auth_pin(pin), outdated });
    }

    /// If there was another PIN, it will now be tried; before, the library may have to be initialized once after
    /// this generation.
    pub(super) fn take_up_pin(&self) -> Option<u64> {
        let mut new_pin = self.new_pin.lock();
        let NewPin { pin, outdated } = new_pin.take()?;
        *self.pin.lock() = Some(pin);
        self.accept_pin();
        self.is_demanded.store(true, Ordering::Release);
        outdated
    }

    /// The token has another PIN, and the library knows.
    pub(super) fn replace_pin(&self, pin: &SecretBytes) {
        let mut new_pin = self.new_pin.lock();
        if let Some(offered) = &mut *new_pin {
            offered.pin = auth_pin(pin);
        }
        if let Some(present) = &mut *self.pin.lock() {
            *present = auth_pin(pin);
        }
    }

    /// The token has another PIN, or will soon, and the library may not know before it is initialized again.
    pub(super) fn replace_pin_soon(&self, pin: &SecretBytes) {
        self.replace_pin(pin);
        self.pin_may_be_too_new.store(true, Ordering::Release);
    }

    /// True if a PIN that was refused may be tried once more, which it will be now.
    pub(super) fn try_pin_again(&self) -> bool {
        let may_be_tried = self.pin_may_be_too_new.swap(false, Ordering::AcqRel);
        if may_be_tried {
            self.accept_pin();
        }
        may_be_tried
    }

    /// The PIN that is there now was refused before: it is not tried.
    pub(super) fn reject_pin(&self) {
        self.pin_rejected.store(true, Ordering::Release);
    }

    /// Nothing is held against the PIN that is there now, if any.
    fn accept_pin(&self) {
        self.pin_rejected.store(false, Ordering::Release);
        self.is_held_back.store(false, Ordering::Release);
        self.pin_may_be_too_new.store(false, Ordering::Release);
    }

    /// Whether there is a PIN to log in with.
    pub(super) fn is_connected(&self) -> bool {
        // In this order: what is taken up goes from the one to the other.
        let is_offered = self.new_pin.lock().is_some();
        is_offered || self.pin.lock().is_some()
    }

    /// Forgets the PIN; from now on nobody opens or uses a session.
    pub(super) fn disconnect(&self) {
        self.end_connection(&mut self.new_pin.lock());
    }

    /// The same, unless another PIN shall be tried: whoever offered it wants the token to be logged in. False then.
    pub(super) fn disconnect_unless_wanted(&self) -> bool {
        let mut new_pin = self.new_pin.lock();
        let is_wanted = new_pin.is_some();
        if !is_wanted {
            self.end_connection(&mut new_pin);
        }
        !is_wanted
    }

    fn end_connection(&self, new_pin: &mut Option<NewPin>) {
        *new_pin = None;
        *self.pin.lock() = None;
        self.accept_pin();
        self.connection.fetch_add(1, Ordering::AcqRel);
    }

    fn connection(&self) -> u64 {
        self.connection.load(Ordering::Acquire)
    }

    /// Ends all sessions of a connection that is over.
    pub(super) fn close_all_sessions(&self, library: &Library) -> Result<(), Fault> {
        let mut login = self.login.lock();
        if login.as_ref().is_none_or(|login| login.connection == self.connection()) {
            return Ok(());
        }
        match login.take() {
            Some(login) if login.generation == self.module.generation() => {
                let closed = library.functions.close_all_sessions(login.slot);
                closed.map_err(|failed| Fault::of_call(failed, Doing::Other))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Logs in with this PIN, which is not known to be right. A login that somebody else has is an error.
    pub(super) fn log_in_with(&self, pin: &SecretBytes, library: &Library) -> Result<(), Fault> {
        let pin = auth_pin(pin);
        let (generation, connection) = (self.module.generation(), self.connection());
        let mut login = self.login.lock();
        let found = self.find_slot(library)?;
        let try_pin = |anchor: &Session| anchor.login_with_raw(UserType::User, &pin).map_err(Fault::of_login);
        let (slot, anchor) = open_anchor(library, found, try_pin)?;
        // Held, so that nobody disconnects meanwhile.
        let _new_pin = self.new_pin.lock();
        if self.connection() != connection {
            let _ = anchor.close();
            return Err(Fault::disconnected());
        }
        self.login_number.fetch_add(1, Ordering::AcqRel);
        *login = Some(Login { generation, connection, slot, anchor });
        *self.pin.lock() = Some(pin);
        self.accept_pin();
        Ok(())
    }

    /// Whether the PIN that there is now is not tried.
    pub(super) fn is_pin_rejected(&self) -> bool {
        self.pin_rejected.load(Ordering::Acquire) || self.is_held_back.load(Ordering::Acquire)
    }

    /// Why nobody can log in, if the PIN is the reason and nobody is logged in.
    pub(super) fn locked_out(&self) -> Option<Fault> {
        let is_out = self.pin_rejected.load(Ordering::Acquire) && self.login.lock().is_none();
        is_out.then(refused)
    }

    pub(super) fn login_number(&self) -> u64 {
        self.login_number.load(Ordering::Acquire)
    }

    /// Opens a session for crypto on a token that is logged in, logging in first if need be.
    pub(super) fn open_session(&self, library: &Library) -> Result<OpenSession, Fault> {
        let generation = self.module.generation();
        let pkcs11 = library.pkcs11()?;
        let connection = self.connection();
        let slot = self.log_in(library, generation)?;
        let session = pkcs11.open_ro_session_no_drop(slot)?;
        Ok(OpenSession { generation, connection, login: self.login_number(), session })
    }

    /// A session that can make token keys; the caller closes it.
    pub(super) fn open_rw_session(&self, library: &Library) -> Result<Session, Fault> {
        let pkcs11 = library.pkcs11()?;
        let slot = self.log_in(library, self.module.generation())?;
        Ok(pkcs11.open_rw_session_no_drop(slot)?)
    }

    /// Forgets this login, unless it was already replaced, so that the next session logs in anew.
    pub(super) fn forget_login(&self, login_number: u64, _library: &Library) {
        let mut login = self.login.lock();
        if self.login_number() != login_number {
            return;
        }
        if let Some(login) = login.take()
            && login.generation == self.module.generation()
            && login.connection == self.connection()
        {
            let _ = login.anchor.close();
        }
    }

    /// Forgets this login if the token has: a token that lost our sessions has lost the login too.
    pub(super) fn verify_login(&self, login_number: u64, library: &Library) {
        let is_alive = self.login.lock().as_ref().is_some_and(|login| login.is_alive());
        if !is_alive {
            self.forget_login(login_number, library);
        }
    }

    fn log_in(&self, library: &Library, generation: u64) -> Result<Slot, Fault> {
        let mut login = self.login.lock();
        let connection = self.connection();
        let Some(pin) = self.pin.lock().clone() else { return Err(Fault::disconnected()) };
        let is_ours = |login: &&Login| login.generation == generation && login.connection == connection;
        if let Some(login) = login.as_ref().filter(is_ours) {
            return Ok(login.slot);
        }
        if self.pin_rejected.load(Ordering::Acquire) {
            return Err(refused());
        }
        let found = self.find_slot(library)?;
        self.hold_back(PinState::of(&found.1))?;
        let try_pin = |anchor: &Session| self.try_pin(anchor, &pin);
        let opened = open_anchor(library, found, try_pin);
        if opened.as_ref().is_err_and(|fault| fault.blame == Blame::Pin) {
            // Another one that was given meanwhile was not tried.
            let present = self.pin.lock();
            if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, &pin)) {
                self.pin_rejected.store(true, Ordering::Release);
                self.refused_pin.remember();
            }
        }
        let (slot, anchor) = opened?;
        self.login_number.fetch_add(1, Ordering::AcqRel);
        *login = Some(Login { generation, connection, slot, anchor });
        Ok(slot)
    }

    fn try_pin(&self, session: &Session, pin: &RawAuthPin) -> Result<(), Fault> {
        match session.login_with_raw(UserType::User, pin) {
            Ok(()) => {
                self.is_demanded.store(false, Ordering::Release);
                self.refused_pin.forget();
                Ok(())
            }
            // Nobody has looked at the PIN.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(Fault::of_login(error)),
        }
    }

    /// The last try is not ours to make, unless somebody demands it.
    fn hold_back(&self, state: PinState) -> Result<(), Fault> {
        if state == PinState::Locked {
            return Err(locked());
        }
        let is_held_back = state == PinState::FinalTry && !self.is_demanded.load(Ordering::Acquire);
        self.is_held_back.store(is_held_back, Ordering::Release);
        if is_held_back {
            let what = "one more wrong PIN locks the user (CKF_USER_PIN_FINAL_TRY); `touch` the PIN file to have \
                        it tried, or log in with the HSM maker's tool";
            return Err(Fault::new(Blame::Pin, what));
        }
        Ok(())
    }

    /// By label and serial, never by slot number: tokens and proxies renumber.
    pub(super) fn find_slot(&self, library: &Library) -> Result<(Slot, TokenInfo), Fault> {
        let (mut matches, mut unreadable) = (Vec::new(), None);
        for slot in library.pkcs11()?.get_slots_with_token()? {
            match library.functions.token_info(slot) {
                Ok(info) if self.is_named(&info) => matches.push((slot, info)),
                Ok(_) => {}
                Err(failed) => unreadable = Some(failed),
            }
        }
        let label = &self.config.token_label;
        match (matches.pop(), matches.is_empty()) {
            (Some(found), true) => Ok(found),
            (None, _) if let Some(failed) = unreadable => Err(Fault::of_call(failed, Doing::Other)),
            (None, _) => Err(Fault::new(Blame::Token, format!("no token is labelled `{label}`"))),
            (Some(_), false) => Err(Fault::new(
                Blame::Token,
                format!("several tokens are labelled `{label}`; set `token_serial`"),
            )),
        }
    }

    fn is_named(&self, info: &TokenInfo) -> bool {
        info.label == self.config.token_label
            && self.config.token_serial.as_deref().is_none_or(|serial| info.serial_number.trim() == serial)
    }
}

fn locked() -> Fault {
    let what = "the token reports a locked user PIN (CKF_USER_PIN_LOCKED)";
    Fault { return_code: Some(RvError::PinLocked), ..Fault::new(Blame::Pin, what) }
}

fn refused() -> Fault {
    Fault::new(Blame::Pin, "the HSM refused the PIN; it is not tried again until it changes")
}

/// A session that is logged in, on a token whose PIN is not locked.
fn open_anchor(
    library: &Library,
    (slot, info): (Slot, TokenInfo),
    try_pin: impl FnOnce(&Session) -> Result<(), Fault>,
) -> Result<(Slot, Session), Fault> {
    if PinState::of(&info) == PinState::Locked {
        return Err(locked());
    }
    let anchor = library.pkcs11()?.open_ro_session_no_drop(slot)?;
    match try_pin(&anchor) {
        Ok(()) => Ok((slot, anchor)),
        Err(fault) => {
            let _ = anchor.close();
            Err(with_state(fault, library.functions.token_info(slot).ok().as_ref(), PinState::of(&info)))
        }
    }
}

/// Whatever the token said, it was the PIN if the token has counted it.
fn with_state(fault: Fault, info: Option<&TokenInfo>, before: PinState) -> Fault {
    let after = info.map(PinState::of).unwrap_or(before);
    let is_told = fault.blame == Blame::Pin && after == PinState::CountLow;
    let blame = if after.is_worse_than(before) { Blame::Pin } else { fault.blame };
    let what = match after.words() {
        Some(words) if !is_told => format!("{}; {words}", fault.what),
        Some(_) | None => fault.what,
    };
    Fault { blame, what, ..fault }
}

impl Login {
    fn is_alive(&self) -> bool {
        self.anchor.get_session_info().is_ok_and(|info| match info.session_state() {
            SessionState::RoUser | SessionState::RwUser => true,
            SessionState::RoPublic | SessionState::RwPublic | SessionState::RwSecurityOfficer => false,
        })
    }
}

impl OpenSession {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the library knows it still, and we may use it.
    pub(super) fn is_current(&self, token: &Token) -> bool {
        self.generation == token.module.generation() && self.connection == token.connection()
    }

    /// Closes it, unless its library was initialized anew or all sessions were ended: then the number may be
    /// another session's. The library is held so that this cannot happen meanwhile.
    pub(super) fn close(self, token: &Token, _library: &Library) {
        if self.is_current(token) {
            let _ = self.session.close();
        }
    }
}

fn auth_pin(pin: &SecretBytes) -> Arc<RawAuthPin> {
    Arc::new(SecretBox::new(Box::new(pin.expose().to_vec())))
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
        let TokenInfo { model, hardware, firmware, .. } = info;
        Self {
            vendor: info.manufacturer.trim().to_owned(),
            model: format!("{} hardware {hardware} firmware {firmware}", model.trim()),
        }
    }
}
