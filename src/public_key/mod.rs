//! What needs no secret: public keys in DER, signatures verified, RSA encryption, ML-KEM encapsulation.

pub mod der;
pub mod encapsulation;
pub mod encryption;
pub mod hashing;
pub mod peer;
pub mod prehashed;
pub mod signature;
pub mod spki;

use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A public key that is none of its kind: of keys that were made here, a fault of the HSM or the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The key itself (RFC 5280, 4.1.2.7: `subjectPublicKey`).
fn raw(public_key: &[u8]) -> Result<&[u8], Unreadable> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(public_key).map_err(|_| Unreadable)?;
    // The borrow is of `public_key`, whatever `info` says of its own life.
    let bits = info.subject_public_key;
    let start = public_key.len().checked_sub(rest.len() + bits.data.len()).ok_or(Unreadable)?;
    let is_whole = rest.is_empty() && bits.unused_bits == 0;
    public_key.get(start..).filter(|_| is_whole).ok_or(Unreadable)
}
