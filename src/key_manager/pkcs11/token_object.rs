//! Private keys that a token cannot wrap: they stay in it, named by the id of their material.

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::domain::kms::{KeptKey, MaterialId};
use crate::key_manager::backing_key::MadeKey;
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::importing::wipe;
use crate::key_manager::pkcs11::key_form::KeyForm;
use crate::key_manager::pkcs11::making::{Making, Pair, generate_pair};
use crate::key_manager::pkcs11::proof;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::vault::Means;
use crate::key_manager::pkcs11::wrapping::{Temporary, require_protected};

/// Whoever looks at the token finds by it what no key of the store names: the rest of a creation that was cut short.
pub(super) const LABEL: &str = "holdfast-kms";

/// Makes a private key that never leaves the token, and lets it prove itself.
pub(super) fn make(
    making: &Making<'_>,
    (form, id): (KeyForm, &MaterialId),
    at: (&Token, Means<'_>),
) -> Result<MadeKey, Fault> {
    in_session(at, |session| {
        let template = form.token_key(LABEL.as_bytes(), id.as_bytes());
        let alone = at.0.objects.own(at.1.deadline)?;
        let Pair { private, public_key } = generate_pair(session, form, &template)?;
        drop(alone);
        let computing = making.computing();
        let proven = require_protected(session, private.handle)
            .and_then(|()| proof::prove(&computing, form, &private, (&private, Some(&public_key))));
        settle(private, proven.is_ok(), at);
        proven.map(|()| MadeKey { kept: KeptKey::TokenObject, public_key: Some(public_key) })
    })
}

/// Makes the object of a private key that came from outside.
pub(super) fn create(
    making: &Making<'_>,
    (form, id): (KeyForm, &MaterialId),
    (parts, public_key): (&[Attribute], &[u8]),
    at: (&Token, Means<'_>),
) -> Result<MadeKey, Fault> {
    in_session(at, |session| {
        let template = [form.token_key(LABEL.as_bytes(), id.as_bytes()), parts.to_vec()].concat();
        let alone = at.0.objects.own(at.1.deadline)?;
        let created = session.create_object(&template);
        drop(alone);
        template.into_iter().for_each(wipe);
        let private = Temporary { session, handle: created?.handle() };
        let computing = making.computing();
        let proven = require_protected(session, private.handle)
            .and_then(|()| proof::prove(&computing, form, &private, (&private, Some(public_key))));
        settle(private, proven.is_ok(), at);
        proven.map(|()| MadeKey { kept: KeptKey::TokenObject, public_key: Some(public_key.to_vec()) })
    })
}

fn in_session<T>(
    (token, means): (&Token, Means<'_>),
    work: impl FnOnce(&Session) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let session = token.open_rw_session(means.library)?;
    let result = work(&session);
    let _ = session.close();
    result
}

/// It stays, or is destroyed, which searches of the token must not see happen.
fn settle(private: Temporary<'_>, stays: bool, (token, means): (&Token, Means<'_>)) {
    if stays {
        private.stay();
    } else {
        let _alone = token.objects.own(means.deadline);
        drop(private);
    }
}

/// The handle of a private key, which is searched for once a login.
pub(super) fn find(id: &MaterialId, ready: Ready<'_>) -> Result<u64, Fault> {
    let _shared = ready.objects.share()?;
    match *search(id, ready.session)? {
        [key] => Ok(key.handle()),
        [] => Err(Fault::new(Blame::Missing, "the token lacks the private key of a KMS key")),
        _ => Err(Fault::new(Blame::Usage, "several keys of the token have the same CKA_LABEL and CKA_ID")),
    }
}

/// Destroys what there is of this name. None is as good.
pub(super) fn destroy(id: &MaterialId, token: &Token, means: Means<'_>) -> Result<(), Fault> {
    in_session((token, means), |session| {
        let _alone = token.objects.own(means.deadline)?;
        search(id, session)?.into_iter().try_for_each(|key| Ok(session.destroy_object(key)?))
    })
}

fn search(id: &MaterialId, session: &Session) -> Result<Vec<ObjectHandle>, Fault> {
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(true),
        Attribute::Label(LABEL.as_bytes().to_vec()),
        Attribute::Id(id.as_bytes().to_vec()),
    ];
    Ok(session.find_objects(&template)?)
}
