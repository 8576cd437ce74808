//! Keys that leave the token wrapped and come back as session objects.

use cryptoki::object::{Attribute, AttributeType};
use cryptoki::session::Session;

use crate::config::IvMode;
use crate::domain::kms::{RootKeyId, WrappedKey};
use crate::key_manager::pkcs11::fault::{Blame, Doing, Fault};
use crate::key_manager::pkcs11::ffi::{Functions, Scheme, object_handle};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves};
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::public_key::spki;

/// CKM_AES_KEY_WRAP, _KWP and _PAD, the best first. RFC 3394 is the same everywhere; what CKM_AES_KEY_WRAP_PAD means
/// differs from token to token.
const MECHANISMS: [u64; 3] = [0x2109, 0x210B, 0x210A];
const KNOWN: &[u8] = b"holdfast wrapping proof";

/// The wrapping key in a session.
#[derive(Clone, Copy)]
pub(super) struct Wrapping<'a> {
    pub(super) functions: &'a Functions,
    pub(super) ready: Ready<'a>,
    /// Whose wrapping key it is.
    pub(super) root_key: RootKeyId,
    pub(super) handle: u64,
    pub(super) iv_mode: IvMode,
}

/// A session object that is destroyed when it is no longer needed.
pub(super) struct Temporary<'a> {
    pub(super) session: &'a Session,
    pub(super) handle: u64,
}

impl Temporary<'_> {
    /// It is a token object that is wanted.
    pub(super) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // What stays is gone with the session.
        let _ = self.session.destroy_object(object_handle(self.handle));
    }
}

impl Wrapping<'_> {
    /// The first mechanism that wraps a throw-away key so that it can be unwrapped again, and that key.
    pub(super) fn learn(&self) -> Result<WrappedKey, Fault> {
        let mut last = None;
        for mechanism in MECHANISMS {
            match self.make_key(mechanism) {
                Ok(wrapped) => return Ok(wrapped),
                Err(fault) if matches!(fault.blame, Blame::Token | Blame::Material | Blame::Usage) => {
                    last = Some(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        let reason = last.map_or_else(String::new, |fault| fault.what);
        Err(Fault::new(
            Blame::Token,
            format!("the token has no mechanism that wraps and unwraps AES-256 keys: {reason}"),
        ))
    }

    /// Makes an AES-256 key that only leaves the token wrapped, and is gone from it afterwards. A key that cannot be
    /// unwrapped again, or not to the same key, is a fault.
    pub(super) fn make_key(&self, mechanism: u64) -> Result<WrappedKey, Fault> {
        let form = KeyForm::SYMMETRIC;
        let made = self.generate_secret(form)?;
        let wrapped = self.wrap(mechanism, &made)?;
        let unwrapped = self.unwrap_again(&wrapped, form)?;
        self.prove(&made, &unwrapped).map_err(on_token)?;
        Ok(wrapped)
    }

    pub(super) fn wrap(&self, mechanism: u64, key: &Temporary<'_>) -> Result<WrappedKey, Fault> {
        let bytes = self
            .functions
            .wrap((self.ready.session, self.handle), mechanism, key.handle)
            .map_err(|failed| Fault::of_call(failed, Doing::Other))?;
        Ok(WrappedKey { root_key: Some(self.root_key), mechanism, bytes })
    }

    /// What was just wrapped, as a key that never shows itself.
    pub(super) fn unwrap_again(&self, wrapped: &WrappedKey, form: KeyForm) -> Result<Temporary<'_>, Fault> {
        let session = self.ready.session;
        let unwrapped = Temporary { session, handle: self.unwrap(wrapped, form).map_err(on_token)? };
        require_protected(session, unwrapped.handle)?;
        Ok(unwrapped)
    }

    /// Unwraps a key into an object that lives as long as the session.
    pub(super) fn unwrap(&self, wrapped: &WrappedKey, form: KeyForm) -> Result<u64, Fault> {
        self.unwrap_as(wrapped, form, Leaves::Never)
    }

    /// The same; one that shall be wrapped by another key may leave the token so.
    pub(super) fn unwrap_as(
        &self,
        wrapped: &WrappedKey,
        form: KeyForm,
        leaves: Leaves,
    ) -> Result<u64, Fault> {
        if !MECHANISMS.contains(&wrapped.mechanism) {
            let what = format!("no key is wrapped with the mechanism {:#x}", wrapped.mechanism);
            return Err(Fault::new(Blame::Material, what));
        }
        let on = (self.ready.session, self.handle);
        let mut template = form.session_key(leaves);
        if spki::named_curve(form.spec).is_some()
            && let Some(attribute) = self.functions.quirks.curve_attribute
        {
            template.push(Attribute::VendorDefined((AttributeType::VendorDefined(attribute), vec![0])));
        }
        self.functions
            .unwrap_key(on, (Scheme::Plain(wrapped.mechanism), &wrapped.bytes), &template)
            .map_err(|failed| Fault::of_call(failed, Doing::Unwrapping))
    }

    /// Whether the token can unwrap this, which it once did.
    pub(super) fn try_again(&self, known: &WrappedKey) -> Result<(), Fault> {
        let handle = self.unwrap(known, KeyForm::SYMMETRIC)?;
        drop(Temporary { session: self.ready.session, handle });
        Ok(())
    }

    /// Whether what was unwrapped can be wrapped once more, as all of it is when the root key is rotated.
    pub(super) fn prove_rewrapping(&self, known: &WrappedKey) -> Result<(), Fault> {
        let form = KeyForm::SYMMETRIC;
        let handle =
            self.unwrap_as(known, form, Leaves::Wrapped).map_err(Fault::or_not_to_wrap).map_err(on_token)?;
        let opened = Temporary { session: self.ready.session, handle };
        let wrapped = self.wrap(known.mechanism, &opened).map_err(Fault::or_not_to_wrap)?;
        let again = self.unwrap_again(&wrapped, form)?;
        self.prove(&opened, &again).map_err(on_token)
    }

    /// A secret key that leaves the token wrapped.
    pub(super) fn generate_secret(&self, form: KeyForm) -> Result<Temporary<'_>, Fault> {
        let mut template = form.session_key(Leaves::Wrapped);
        let bytes = u32::try_from(form.secret_bytes().unwrap_or_default()).unwrap_or_default();
        template.push(Attribute::ValueLen(u64::from(bytes).into()));
        let session = self.ready.session;
        let Some(generation) = form.generation() else {
            return Err(Fault::new(Blame::Unsupported, "the token lacks the kind of key"));
        };
        let handle = session.generate_key(&generation, &template)?.handle();
        Ok(Temporary { session, handle })
    }

    /// What one encrypts the other decrypts, and the other never shows itself.
    pub(super) fn prove(&self, made: &Temporary<'_>, unwrapped: &Temporary<'_>) -> Result<(), Fault> {
        let gcm = |key: &Temporary<'_>| {
            Gcm::with_handle(self.functions, self.ready.session, key.handle, self.iv_mode)
        };
        let encrypted = gcm(made).encrypt(KNOWN, KNOWN)?;
        let sealed = [encrypted.ciphertext.as_slice(), &encrypted.tag].concat();
        if gcm(unwrapped).decrypt(&encrypted.iv, &sealed, KNOWN)?.expose() == KNOWN {
            Ok(())
        } else {
            Err(Fault::new(Blame::Token, "a key is another one after it was wrapped and unwrapped"))
        }
    }
}

/// Sensitive and not extractable.
pub(super) fn require_protected(session: &Session, handle: u64) -> Result<(), Fault> {
    let wanted = [AttributeType::Sensitive, AttributeType::Extractable];
    if session.get_attributes(object_handle(handle), &wanted)?
        == [Attribute::Sensitive(true), Attribute::Extractable(false)]
    {
        Ok(())
    } else {
        Err(Fault::new(Blame::Token, "the token does not keep a key sensitive and unextractable"))
    }
}

/// What the token has just made is nobody else's fault.
pub(super) fn on_token(fault: Fault) -> Fault {
    match fault.blame {
        Blame::Data | Blame::DataOrToken | Blame::Material => {
            let what =
                format!("the token does not take back the key that it has just wrapped: {}", fault.what);
            Fault { blame: Blame::Token, what, ..fault }
        }
        Blame::Busy
        | Blame::Disconnected
        | Blame::Handle
        | Blame::ForeignKey
        | Blame::Length
        | Blame::Library
        | Blame::Unsupported
        | Blame::Login
        | Blame::Missing
        | Blame::Pin
        | Blame::Session
        | Blame::Token
        | Blame::Usage => fault,
    }
}
