//! Makes an AES-256 token key: born in the token and never to leave it.

use aws_lc_rs::rand;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::Session;

use crate::domain::{ExternalKeyId, KeyUsages, VersionMarker};
use crate::key_manager::pkcs11::fault::{Blame, Fault};

const AES_256_BYTES: u64 = 32;

/// A key to make.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub id: ExternalKeyId,
    pub usages: KeyUsages,
}

/// Makes the version of this number, in a read-write session.
pub(super) fn generate(session: &Session, new: &NewKey, number: u32) -> Result<VersionMarker, Fault> {
    let mut tag = [0; 8];
    rand::fill(&mut tag)
        .map_err(|_| Fault::new(Blame::Token, "the operating system gave no random bytes"))?;
    let marker = VersionMarker { number, tag };
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::ValueLen(AES_256_BYTES.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(new.usages.encrypt),
        Attribute::Decrypt(new.usages.decrypt),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Label(new.id.as_str().as_bytes().to_vec()),
        Attribute::Id(marker.to_object_id(true).to_vec()),
    ];
    let handle = session.generate_key(&Mechanism::AesKeyGen, &template)?;
    let protected =
        session.get_attributes(handle, &[AttributeType::Sensitive, AttributeType::Extractable])?;
    if protected != [Attribute::Sensitive(true), Attribute::Extractable(false)] {
        session.destroy_object(handle)?;
        return Err(Fault::new(Blame::Token, "the token does not keep the key sensitive and unextractable"));
    }
    Ok(marker)
}
