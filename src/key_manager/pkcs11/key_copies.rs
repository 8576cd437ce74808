//! Session copies of token keys: what computes with a token key can be much faster with a copy in memory of the HSM.
//!
//! Measured on SoftHSM 2.6.1, to start AES-GCM costs four times as much with a token key, which is looked up on the disk,
//! and on NSS softokn 270 times. A copy (PKCS#11 3.1, C_CopyObject) never leaves the HSM. It is used only if the HSM shows
//! that it has every protection of its original, and the original is looked at every second, so that whoever takes that
//! away takes the copy away too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::key_manager::external_key::KeyObject;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::object_handle;
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::thread_session::{Ready, ThreadSession};
use crate::key_manager::pkcs11::token::Token;

/// How long after its last look at the original a copy is used.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A key that is used less often in a login is not worth a copy, which costs as much as ten encryptions.
const USES_MIN: u32 = 8;

/// What must be the same in both; `CKA_TOKEN` alone is not.
const KEPT: [AttributeType; 10] = [
    AttributeType::Private,
    AttributeType::Sensitive,
    AttributeType::Extractable,
    AttributeType::AlwaysSensitive,
    AttributeType::NeverExtractable,
    AttributeType::Encrypt,
    AttributeType::Decrypt,
    AttributeType::Wrap,
    AttributeType::Unwrap,
    AttributeType::Derive,
];
/// What another tool changes to forbid the use of a key.
const PERMISSIONS: [AttributeType; 2] = [AttributeType::Encrypt, AttributeType::Decrypt];

/// The copies in one token.
pub(super) struct KeyCopies {
    copies_max: usize,
    count: AtomicUsize,
    holder: Mutex<Holder>,
    epoch: Instant,
    clock: Arc<dyn Clock>,
}

/// Copies belong to this session, which never computes: a worker that loses its session loses none of them.
struct Holder {
    session: ThreadSession,
    /// The login of the copies; zero before the first.
    login: u64,
    copies: Vec<Copy>,
}

struct Copy {
    of: Weak<KeyObject>,
    handle: u64,
}

impl KeyCopies {
    pub(super) fn new(token: Arc<Token>, clock: Arc<dyn Clock>) -> Self {
        Self {
            copies_max: if token.config.session_copies { token.config.cached_keys_max } else { 0 },
            count: AtomicUsize::new(0),
            holder: Mutex::new(Holder {
                session: ThreadSession::new(token, None),
                login: 0,
                copies: Vec::new(),
            }),
            epoch: clock.instant(),
            clock,
        }
    }

    /// What to compute with: a copy if there is one and its original is as it was, else the token key.
    pub(super) fn handle_of(
        &self,
        object: &Arc<KeyObject>,
        ready: Ready<'_>,
        library: &Library,
    ) -> Result<u64, Fault> {
        let original = inventory::handle_of(object, ready)?;
        if self.copies_max == 0 {
            return Ok(original);
        }
        match object.copy(ready.login) {
            Some(copy) => {
                let is_due = object.take_look(self.now_ms(), millis(LOOK_INTERVAL));
                if is_due && permissions(ready.session, original)? != permissions(ready.session, copy)? {
                    object.forget_copy();
                    return Ok(original);
                }
                Ok(copy)
            }
            None if object.count_use(ready.login) < USES_MIN || !self.has_room() => Ok(original),
            None => Ok(self.copy(object, (original, ready.login), library).unwrap_or(original)),
        }
    }

    /// Destroys copies whose keys are not known any more.
    pub(super) fn sweep(&self, library: &Library) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(mut holder) = self.holder.try_lock() else { return };
        let Holder { session, login, copies } = &mut *holder;
        let Ok(ready) = session.ready(library) else { return };
        if ready.login == *login {
            copies.retain(|copy| {
                let is_used =
                    copy.of.upgrade().is_some_and(|object| object.copy(ready.login) == Some(copy.handle));
                if !is_used {
                    let _ = ready.session.destroy_object(object_handle(copy.handle));
                }
                is_used
            });
        } else {
            copies.clear();
        }
        self.count.store(copies.len(), Ordering::Relaxed);
    }

    /// Nothing if there is none to be had now. Nobody waits for whoever makes another one.
    fn copy(
        &self,
        object: &Arc<KeyObject>,
        (original, of_login): (u64, u64),
        library: &Library,
    ) -> Option<u64> {
        let mut holder = self.holder.try_lock()?;
        let Holder { session, login, copies } = &mut *holder;
        let ready = session.ready(library).ok()?;
        if ready.login != *login {
            // They died with the former login.
            copies.clear();
            *login = ready.login;
        }
        // Under another login the number may be another key's.
        if ready.login != of_login {
            return None;
        }
        let made = match make(ready.session, original) {
            Ok(made) => made,
            Err(fault) => {
                if session.heal(&fault, library) {
                    // They died with their session.
                    copies.drain(..).filter_map(|copy| copy.of.upgrade()).for_each(|object| {
                        object.forget_copy();
                    });
                } else {
                    object.refuse_copy(*login);
                }
                return None;
            }
        };
        copies.push(Copy { of: Arc::downgrade(object), handle: made });
        self.count.store(copies.len(), Ordering::Relaxed);
        if session.ready(library).ok()?.login != of_login {
            return None;
        }
        object.remember_copy(*login, made, self.now_ms());
        Some(made)
    }

    fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) < self.copies_max
    }

    fn now_ms(&self) -> u64 {
        millis(self.clock.instant().saturating_duration_since(self.epoch))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A copy with every protection of its original, or none.
fn make(session: &Session, original: u64) -> Result<u64, Fault> {
    let original = object_handle(original);
    let copy = session.copy_object(original, &[Attribute::Token(false)])?;
    let is_as_good = protections(session, original).and_then(|expected| {
        Ok(expected == protections(session, copy)?
            && session.get_attributes(copy, &[AttributeType::Token])? == [Attribute::Token(false)])
    });
    if matches!(is_as_good, Ok(true)) {
        return Ok(copy.handle());
    }
    let _ = session.destroy_object(copy);
    is_as_good.and_then(|_| {
        Err(Fault::new(Blame::Usage, "the token makes copies of keys that lack a protection of the original"))
    })
}

fn protections(session: &Session, object: ObjectHandle) -> Result<Vec<Attribute>, Fault> {
    Ok(session.get_attributes(object, &KEPT)?)
}

/// An object that is gone is a stale handle.
fn permissions(session: &Session, handle: u64) -> Result<Vec<Attribute>, Fault> {
    Ok(session.get_attributes(object_handle(handle), &PERMISSIONS)?)
}
