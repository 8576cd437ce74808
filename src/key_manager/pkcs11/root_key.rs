//! The root key of a token: one key that wraps, and one beside it that seals.

use std::fmt::Write;

use aws_lc_rs::rand;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;

use crate::domain::kms::WrappedKey;
use crate::key_manager::backing_key::{ROOT_KEY_ID_BYTES, RootKeyId};
use crate::key_manager::external_key::{KeyObject, ObjectName};
use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::gcm::Gcm;
use crate::key_manager::pkcs11::inventory;
use crate::key_manager::pkcs11::module::Library;
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::wrapping::{Wrapping, require_protected};

const WRAPPING_LABEL: &str = "holdfast-root";
const SEALING_LABEL: &str = "holdfast-seal";
/// At the end of the sealing key's `CKA_ID`, after the id of the root key.
const SEALING_SUFFIX: u8 = 1;
const AES_256_BYTES: u64 = 32;

/// Whether keys with this label are ours alone.
pub(super) fn is_reserved(label: &str) -> bool {
    [WRAPPING_LABEL, SEALING_LABEL].contains(&label)
}

/// A root key that was found, and has proven that it wraps and seals.
pub(super) struct RootKey {
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

    fn uses(self) -> [Attribute; 7] {
        let (wraps, seals) = match self {
            Self::Wrapping => (true, false),
            Self::Sealing => (false, true),
        };
        [
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
        let proof = Wrapping { functions: &library.gcm, ready, handle, iv_mode }.learn()?;
        Gcm::with_handle(&library.gcm, ready.session, find(&sealing)?, iv_mode).round_trip()?;
        Ok(Self { wrapping, sealing, proof })
    }

    /// Makes both keys. What is half made, because the process ends or the token fails, nobody will ask for:
    /// the id is random.
    pub(super) fn create(
        token: &Token,
        library: &Library,
        ready: Ready<'_>,
    ) -> Result<(RootKeyId, Self), Fault> {
        let mut id = RootKeyId([0; ROOT_KEY_ID_BYTES]);
        rand::fill(&mut id.0)
            .map_err(|_| Fault::new(Blame::Token, "the operating system gave no random bytes"))?;
        let session = token.open_rw_session(library)?;
        let result = [Role::Wrapping, Role::Sealing]
            .iter()
            .try_for_each(|role| generate(&session, token, *role, &id))
            .and_then(|()| Self::open(&id, token, library, ready));
        let _ = session.close();
        Ok((id, result?))
    }
}

pub(super) fn missing(id: &RootKeyId, token: &Token) -> Fault {
    let id = hexadecimal(id);
    let what = format!("the root key {id} is not in HSM {}", token.config.name);
    Fault::new(Blame::Missing, what)
}

fn hexadecimal(id: &RootKeyId) -> String {
    id.0.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn generate(session: &Session, token: &Token, role: Role, id: &RootKeyId) -> Result<(), Fault> {
    let ObjectName { label, id } = role.name(id);
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::ValueLen(AES_256_BYTES.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Label(label.into_bytes()),
        Attribute::Id(id),
    ];
    template.extend(role.uses());
    let _alone = token.objects.own()?;
    session.generate_key(&Mechanism::AesKeyGen, &template)?;
    Ok(())
}
