//! The root key of a token: one key that wraps, and one beside it that seals.

use aws_lc_rs::rand;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};

use crate::domain::kms::WrappedKey;
use crate::key_manager::backing_key::{ROOT_KEY_ID_BYTES, RootKeyId};
use crate::key_manager::external_key::{KeyObject, ObjectName};
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::token_object;
use crate::key_manager::pkcs11::vault::Means;
use crate::key_manager::pkcs11::wrapping::{Wrapping, require_protected};

const WRAPPING_LABEL: &str = "holdfast-root";
const SEALING_LABEL: &str = "holdfast-seal";
/// At the end of the sealing key's `CKA_ID`, after the id of the root key.
const SEALING_SUFFIX: u8 = 1;
const AES_256_BYTES: u64 = 32;

/// Whether keys with this label are ours alone.
pub(super) fn is_reserved(label: &str) -> bool {
    [WRAPPING_LABEL, SEALING_LABEL, token_object::LABEL].contains(&label)
}

/// A root key that was found, and has proven that it wraps and seals.
pub(super) struct RootKey {
    pub(super) id: RootKeyId,
    pub(super) wrapping: KeyObject,
    pub(super) sealing: KeyObject,
    /// A key wrapped with the mechanism that this token does best, which nothing uses.
    pub(super) proof: WrappedKey,
}

/// What a root key can do.
#[derive(Clone, Copy)]
enum Role {
    Wrapping,
    Sealing,
}

impl Role {
    fn name(self, id: &RootKeyId) -> ObjectName {
        let (label, object_id) = match self {
            Self::Wrapping => (WRAPPING_LABEL, id.0.to_vec()),
            Self::Sealing => (SEALING_LABEL, [id.0.as_slice(), &[SEALING_SUFFIX]].concat()),
        };
        ObjectName { label: label.to_owned(), id: object_id }
    }

    fn template(self, id: &RootKeyId) -> [Attribute; 15] {
        let ObjectName { label, id } = self.name(id);
        let (wraps, seals) = match self {
            Self::Wrapping => (true, false),
            Self::Sealing => (false, true),
        };
        [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::ValueLen(AES_256_BYTES.into()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Label(label.into_bytes()),
            Attribute::Id(id),
            Attribute::Wrap(wraps),
            Attribute::Unwrap(wraps),
            Attribute::Encrypt(seals),
            Attribute::Decrypt(seals),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Derive(false),
        ]
    }
}

impl RootKey {
    /// Finds both keys and lets them prove themselves.
    pub(super) fn open(
        id: &RootKeyId,
        token: &Token,
        library: &Library,
        ready: Ready<'_>,
    ) -> Result<Self, Fault> {
        let [wrapping, sealing] = [Role::Wrapping, Role::Sealing].map(|role| KeyObject::new(role.name(id)));
        let find = |object| {
            let handle = inventory::handle_of(object, ready)?;
            require_protected(ready.session, handle).map(|()| handle)
        };
        let iv_mode = token.config.iv_mode;
        let handle = find(&wrapping)?;
        let functions = &library.functions;
        let proof = Wrapping { functions, ready, root_key: *id, handle, iv_mode }.learn()?;
        Gcm::with_handle(functions, ready.session, find(&sealing)?, iv_mode).round_trip()?;
        Ok(Self { id: *id, wrapping, sealing, proof })
    }

    /// Makes both keys. What is half made when the process ends nobody will ask for: the id is random.
    pub(super) fn create(token: &Token, ready: Ready<'_>, means: Means<'_>) -> Result<Self, Fault> {
        let mut id = RootKeyId([0; ROOT_KEY_ID_BYTES]);
        rand::fill(&mut id.0)
            .map_err(|_| Fault::new(Blame::Token, "the operating system gave no random bytes"))?;
        let session = token.open_rw_session(means.library)?;
        let mut made = Vec::new();
        let result = [Role::Wrapping, Role::Sealing]
            .iter()
            .try_for_each(|role| {
                let _alone = token.objects.own(means.deadline)?;
                made.push(session.generate_key(&Mechanism::AesKeyGen, &role.template(&id))?);
                Ok(())
            })
            .and_then(|()| Self::open(&id, token, means.library, ready));
        if result.is_err() {
            let _alone = token.objects.own(means.deadline);
            made.into_iter().for_each(|handle| drop(session.destroy_object(handle)));
        }
        let _ = session.close();
        result
    }
}

/// The ids of the root keys in the token that have both their keys.
pub(super) fn list(ready: Ready<'_>) -> Result<Vec<RootKeyId>, Fault> {
    let sealing: Vec<_> =
        inventory::list(ready, Some(SEALING_LABEL))?.into_iter().map(|(name, _)| name).collect();
    let wrapping = inventory::list(ready, Some(WRAPPING_LABEL))?;
    let ids = wrapping.into_iter().filter_map(|(name, _)| RootKeyId::from_bytes(&name.id));
    Ok(ids.filter(|id| sealing.contains(&Role::Sealing.name(id))).collect())
}

/// Destroys both keys. None is as good.
pub(super) fn destroy(id: &RootKeyId, token: &Token, means: Means<'_>) -> Result<(), Fault> {
    let session = token.open_rw_session(means.library)?;
    let result = [Role::Wrapping, Role::Sealing].iter().try_for_each(|role| {
        let name = role.name(id);
        let _alone = token.objects.own(means.deadline)?;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(name.label.into_bytes()),
            Attribute::Id(name.id),
        ];
        session.find_objects(&template)?.into_iter().try_for_each(|key| Ok(session.destroy_object(key)?))
    });
    let _ = session.close();
    result
}

pub(super) fn missing(id: &RootKeyId, token: &Token) -> Fault {
    Fault::new(Blame::Missing, format!("the root key {id} is not in HSM {}", token.config.name))
}

/// Something is under a root key that the store knows no more.
pub(super) fn retired(id: &RootKeyId) -> Fault {
    Fault::new(Blame::Missing, format!("the root key {id} was retired, or is of another installation"))
}
