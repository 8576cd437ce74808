//! Keys of every kind, made in the token, which leave it wrapped only, or not at all.

use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType};
use cryptoki::session::Session;

use crate::domain::kms::{KeptKey, WrappedKey};
use crate::key_manager::backing_key::MadeKey;
use crate::key_manager::pkcs11::capabilities::{self, Capabilities};
use crate::key_manager::pkcs11::computing::{Computing, value_of};
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::ffi::object_handle;
use crate::key_manager::pkcs11::key_form::{KeyForm, Leaves};
use crate::key_manager::pkcs11::proof;
use crate::key_manager::pkcs11::wrapping::{Temporary, Wrapping, on_token};
use crate::public_key::{der, spki};

/// An AES wrapping key, and what is known of its token.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    pub(super) wrapping: Wrapping<'a>,
    pub(super) capabilities: &'a Capabilities,
    /// The mechanism that wraps AES keys best.
    pub(super) mechanism: u64,
}

/// A pair in a session; its public key is not in the token any more.
pub(super) struct Pair<'a> {
    pub(super) private: Temporary<'a>,
    /// SubjectPublicKeyInfo in DER.
    pub(super) public_key: Vec<u8>,
}

impl<'a> Making<'a> {
    pub(super) fn computing(&self) -> Computing<'a> {
        Computing {
            functions: self.wrapping.functions,
            session: self.wrapping.ready.session,
            capabilities: self.capabilities,
        }
    }

    /// Nothing is handed out that was not unwrapped again, and has not worked then.
    pub(super) fn make(&self, form: KeyForm) -> Result<MadeKey, Fault> {
        if form == KeyForm::SYMMETRIC {
            let wrapped = self.wrapping.make_key(self.mechanism)?;
            return Ok(MadeKey { kept: KeptKey::Wrapped(wrapped), public_key: None });
        }
        if !form.is_pair() {
            let made = self.wrapping.generate_secret(form).map_err(Fault::or_unsupported)?;
            return self.keep(form, &made, None);
        }
        let made = self.generate_pair(form, Leaves::Wrapped)?;
        self.keep(form, &made.private, Some(made.public_key))
    }

    /// Wraps a session object, and has what comes back prove itself.
    pub(super) fn keep(
        &self,
        form: KeyForm,
        key: &Temporary<'_>,
        public_key: Option<Vec<u8>>,
    ) -> Result<MadeKey, Fault> {
        let wrapped = self.wrap(form, key)?;
        let unwrapped =
            self.wrapping.unwrap_again(&wrapped, form).map_err(|fault| match fault.return_code {
                // Some want attributes of their own for some kinds of keys.
                Some(RvError::TemplateIncomplete | RvError::TemplateInconsistent) => {
                    Fault { blame: Blame::Unsupported, ..fault }
                }
                Some(_) | None => fault,
            })?;
        let proven = if form == KeyForm::SYMMETRIC {
            self.wrapping.prove(key, &unwrapped)
        } else {
            proof::prove(&self.computing(), form, &unwrapped, (key, public_key.as_deref()))
        };
        proven.map_err(on_token)?;
        Ok(MadeKey { kept: KeptKey::Wrapped(wrapped), public_key })
    }

    /// Material whose length RFC 3394 does not take is padded with zeros by some tokens, which nobody notices.
    fn wrap(&self, form: KeyForm, key: &Temporary<'_>) -> Result<WrappedKey, Fault> {
        if !form.needs_padding() {
            return self.wrapping.wrap(self.mechanism, key);
        }
        let mut refused = Fault::new(Blame::Unsupported, "the token lacks CKM_AES_KEY_WRAP_KWP");
        for mechanism in self.capabilities.padded_wrapping() {
            match self.wrapping.wrap(mechanism, key) {
                Err(fault) if fault.return_code.is_some_and(capabilities::is_refusal) => {
                    refused = Fault { blame: Blame::Unsupported, ..fault };
                }
                result => return result,
            }
        }
        Err(refused)
    }

    /// A pair whose public key has been read.
    pub(super) fn generate_pair(&self, form: KeyForm, leaves: Leaves) -> Result<Pair<'a>, Fault> {
        let session = self.wrapping.ready.session;
        let private = form.session_key(leaves);
        match generate_pair(session, form, &private) {
            Err(fault)
                if fault.return_code == Some(RvError::GeneralError) && is_known_curve_made(session, form) =>
            {
                Err(Fault { blame: Blame::Unsupported, ..fault })
            }
            made => made,
        }
    }
}

/// Some tokens say GENERAL_ERROR to a curve that they do not know; that another curve works tells it from a fault.
fn is_known_curve_made(session: &Session, form: KeyForm) -> bool {
    use crate::domain::kms::KeySpec;
    if spki::named_curve(form.spec).is_none() || form.spec == KeySpec::EccNistP256 {
        return false;
    }
    let known = KeyForm { spec: KeySpec::EccNistP256, ..form };
    generate_pair(session, known, &known.session_key(Leaves::Wrapped)).is_ok()
}

/// In whichever way of naming its domain the token takes.
pub(super) fn generate_pair<'a>(
    session: &'a Session,
    form: KeyForm,
    private: &[Attribute],
) -> Result<Pair<'a>, Fault> {
    let none = || Fault::new(Blame::Unsupported, "the token lacks the kind of key");
    let generation = form.generation().ok_or_else(none)?;
    let mut refused = none();
    for domain in form.domains() {
        let public = [form.public_key(), domain].concat();
        match session.generate_key_pair(&generation, &public, private).map_err(Fault::from) {
            Ok((public, private)) => {
                let private = Temporary { session, handle: private.handle() };
                let public = Temporary { session, handle: public.handle() };
                return Ok(Pair { private, public_key: read_public_key(session, form, &public)? });
            }
            Err(fault) if fault.return_code.is_some_and(capabilities::is_refusal) => {
                refused = Fault { blame: Blame::Unsupported, ..fault };
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(refused)
}

/// Its SubjectPublicKeyInfo; the attribute of that name is empty in some tokens.
fn read_public_key(session: &Session, form: KeyForm, public: &Temporary<'_>) -> Result<Vec<u8>, Fault> {
    let read = |wanted: &[AttributeType]| session.get_attributes(object_handle(public.handle), wanted);
    let spki = if form.spec.rsa_bits().is_some() {
        let numbers = read(&[AttributeType::Modulus, AttributeType::PublicExponent])?;
        rsa_numbers(form, &numbers).map(|(modulus, exponent)| spki::of_rsa(modulus, exponent))
    } else if spki::named_curve(form.spec).is_some()
        || form
            .generation()
            .is_some_and(|made| matches!(made, cryptoki::mechanism::Mechanism::EccEdwardsKeyPairGen))
    {
        let point = read(&[AttributeType::EcPoint])?.into_iter().find_map(point_of).unwrap_or_default();
        // Some tokens leave the octet string out.
        let inner = der::Reader::new(&point).expect(der::OCTET_STRING);
        spki::of_raw(form.spec, &point).or_else(|| spki::of_raw(form.spec, inner?))
    } else {
        let value = read(&[AttributeType::Value])?.into_iter().find_map(value_of).unwrap_or_default();
        spki::of_raw(form.spec, &value)
    };
    spki.ok_or_else(|| Fault::new(Blame::Token, "the token does not show the public key that it made"))
}

/// Modulus and exponent of a public or a private key. Nothing if the modulus is shorter or longer than it must be.
pub(super) fn rsa_numbers(form: KeyForm, attributes: &[Attribute]) -> Option<(&[u8], &[u8])> {
    let modulus = attributes.iter().find_map(modulus_of).map(der::without_leading_zeros)?;
    let exponent = attributes.iter().find_map(exponent_of).map(der::without_leading_zeros)?;
    let is_whole = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
    let is_long = form.spec.rsa_bits() == Some(modulus.len() * 8);
    (is_whole && is_long && !exponent.is_empty()).then_some((modulus, exponent))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum has an entry for every attribute of PKCS#11; one is looked for"
)]
fn modulus_of(attribute: &Attribute) -> Option<&[u8]> {
    match attribute {
        Attribute::Modulus(bytes) => Some(bytes),
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum has an entry for every attribute of PKCS#11; one is looked for"
)]
fn exponent_of(attribute: &Attribute) -> Option<&[u8]> {
    match attribute {
        Attribute::PublicExponent(bytes) => Some(bytes),
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum has an entry for every attribute of PKCS#11; one was asked for"
)]
fn point_of(attribute: Attribute) -> Option<Vec<u8>> {
    match attribute {
        Attribute::EcPoint(bytes) => Some(bytes),
        _ => None,
    }
}
