//! A key pair on P-256 in a token: born there, and its private key never leaves it.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::key_manager::pkcs11::fault::{Blame, Fault};
use crate::key_manager::pkcs11::thread_session::Ready;
use crate::key_manager::pkcs11::token::Token;
use crate::key_manager::pkcs11::vault::Means;
use crate::key_manager::pkcs11::wrapping::require_protected;
use crate::key_manager::signing_key::{SIGNING_KEY_ID_BYTES, SignDigest, SigningKey, SigningKeyId};
use crate::public_key::der;

const LABEL: &[u8] = b"holdfast-audit";
/// The object identifier of P-256 in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What goes before the point in a SubjectPublicKeyInfo (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The octet string that a point is in (PKCS#11 3.1, CKA_EC_POINT).
const OCTET_STRING: [u8; 2] = [0x04, 65];
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 0x04;
const INTEGER_BYTES: usize = 32;
const KNOWN: &[u8] = b"holdfast signing proof";

/// Makes a key pair, and lets it prove itself. What is half made when the process ends nobody will ask for: the id is
/// random.
pub(super) fn make(token: &Token, ready: Ready<'_>, means: Means<'_>) -> Result<SigningKey, Fault> {
    let mut id = SigningKeyId([0; SIGNING_KEY_ID_BYTES]);
    rand::fill(&mut id.0)
        .map_err(|_| Fault::new(Blame::Token, "the operating system gave no random bytes"))?;
    let session = token.open_rw_session(means.library)?;
    let result = make_in(&session, &id, token, means).and_then(|made| {
        let proven = prove(&session, &made, ready);
        if proven.is_err() {
            let _alone = token.objects.own(means.deadline);
            [made.public, made.private].into_iter().for_each(|handle| drop(session.destroy_object(handle)));
        }
        proven
    });
    let _ = session.close();
    result.map(|public_key| SigningKey { id, public_key })
}

struct Made {
    id: SigningKeyId,
    public: ObjectHandle,
    private: ObjectHandle,
}

fn make_in(session: &Session, id: &SigningKeyId, token: &Token, means: Means<'_>) -> Result<Made, Fault> {
    let name = [Attribute::Label(LABEL.to_vec()), Attribute::Id(id.0.to_vec()), Attribute::Token(true)];
    let public = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::EcParams(P256.to_vec()),
        Attribute::Private(false),
        Attribute::Verify(true),
    ];
    let private = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Derive(false),
    ];
    let [public, private] = [public.as_slice(), &private].map(|own| [own, &name].concat());
    let _alone = token.objects.own(means.deadline)?;
    let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
    Ok(Made { id: *id, public, private })
}

/// The public key, if its private key is kept as it must be and signs what it verifies.
fn prove(session: &Session, made: &Made, ready: Ready<'_>) -> Result<Vec<u8>, Fault> {
    require_protected(session, made.private.handle())?;
    let public_key = [SPKI_PREFIX.as_slice(), &read_point(session, made.public)?].concat();
    let mut known = [0; INTEGER_BYTES];
    known.iter_mut().zip(digest(&SHA256, KNOWN).as_ref()).for_each(|(place, byte)| *place = *byte);
    let signature = sign(&SignDigest { key: made.id, digest: known }, ready)?;
    let point = public_key.get(SPKI_PREFIX.len()..).unwrap_or_default();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(KNOWN, &signature)
        .map_err(|_| Fault::new(Blame::Token, "the token made a key pair that does not belong together"))?;
    Ok(public_key)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum has an entry for every attribute of PKCS#11; one was asked for"
)]
fn read_point(session: &Session, public: ObjectHandle) -> Result<Vec<u8>, Fault> {
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let point = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(bytes) => Some(bytes),
        _ => None,
    });
    let point = point.unwrap_or_default();
    // Some tokens leave the octet string out.
    let point = point.strip_prefix(&OCTET_STRING).filter(|rest| rest.len() == POINT_BYTES).unwrap_or(&point);
    if point.len() == POINT_BYTES && point.first() == Some(&UNCOMPRESSED) {
        Ok(point.to_vec())
    } else {
        Err(Fault::new(Blame::Token, "the token does not show the public key that it made"))
    }
}

/// Signs with the private key of this id, which is searched for: once a minute is not often.
pub(super) fn sign(request: &SignDigest, ready: Ready<'_>) -> Result<Vec<u8>, Fault> {
    let key = find(&request.key, ready)?;
    let signature = ready.session.sign(&Mechanism::Ecdsa, key, &request.digest)?;
    match signature.split_at_checked(INTEGER_BYTES) {
        Some((r, s)) if s.len() == INTEGER_BYTES => Ok(der::sequence(&[&der::integer(r), &der::integer(s)])),
        _ => Err(Fault::new(Blame::Token, "the token made a signature of a wrong length")),
    }
}

fn find(id: &SigningKeyId, ready: Ready<'_>) -> Result<ObjectHandle, Fault> {
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Label(LABEL.to_vec()),
        Attribute::Id(id.0.to_vec()),
    ];
    let _shared = ready.objects.share()?;
    match *ready.session.find_objects(&template)? {
        [key] => Ok(key),
        [] => {
            let mut text = "the token lacks the key that signs the audit trail, ".to_owned();
            let _ = write!(text, "{id}");
            Err(Fault::new(Blame::Missing, text))
        }
        _ => Err(Fault::new(Blame::Usage, "several keys of the token have the same CKA_LABEL and CKA_ID")),
    }
}
