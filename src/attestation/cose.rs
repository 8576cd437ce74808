//! COSE_Sign1 (RFC 9052, section 4.2) as the Nitro hypervisor signs: ES384 and nothing else.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use crate::attestation::Invalid;
use crate::attestation::cbor::{Malformed, Reader, push_bytes};

/// RFC 9052, section 2: the tag 18 of COSE_Sign1, which may be there.
const TAG: u8 = 0xd2;
/// RFC 9052, section 3.1.
const ALGORITHM: i64 = 1;
/// RFC 9053, section 2.1.
const ES384: i64 = -35;
/// Nitro Enclaves Attestation Process, 3.1.
const PAYLOAD_BYTES_MAX: usize = 16_384;
/// `["Signature1", …` of the structure that is signed (RFC 9052, section 4.4).
const SIGNED_START: &[u8] = b"\x84\x6aSignature1";
/// No external data.
const NO_BYTES: u8 = 0x40;

/// Something that says to be signed.
pub(super) struct Signed<'a> {
    protected: &'a [u8],
    pub(super) payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let (signed, unprotected) = read(bytes).map_err(|Malformed| Invalid::Structure)?;
        if !unprotected || !is_es384(signed.protected) {
            return Err(Invalid::Algorithm);
        }
        if signed.payload.is_empty() || signed.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Invalid::Structure);
        }
        Ok(signed)
    }

    /// Whether it is signed with the key of this SubjectPublicKeyInfo.
    pub(super) fn verify(&self, public_key: &[u8]) -> Result<(), Invalid> {
        let mut text = Vec::with_capacity(self.payload.len() + self.protected.len() + 32);
        text.extend_from_slice(SIGNED_START);
        push_bytes(&mut text, self.protected);
        text.push(NO_BYTES);
        push_bytes(&mut text, self.payload);
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_key);
        key.verify(&text, self.signature).map_err(|_| Invalid::Signature)
    }
}

/// And whether the unprotected header is empty, as it must be.
fn read(bytes: &[u8]) -> Result<(Signed<'_>, bool), Malformed> {
    let mut reader = Reader::new(bytes);
    reader.skip(TAG);
    reader.array_of(4)?;
    let protected = reader.bytes()?;
    let mut is_empty = true;
    reader.map(|reader| {
        is_empty = false;
        reader.integer()?;
        reader.integer().map(drop)
    })?;
    let signed = Signed { protected, payload: reader.bytes()?, signature: reader.bytes()? };
    if reader.is_at_end() { Ok((signed, is_empty)) } else { Err(Malformed) }
}

/// Whether the protected header says this and nothing else.
fn is_es384(protected: &[u8]) -> bool {
    let mut reader = Reader::new(protected);
    let mut entries = Vec::new();
    let read = reader.map(|reader| {
        entries.push((reader.integer()?, reader.integer()?));
        Ok::<_, Malformed>(())
    });
    read.is_ok() && reader.is_at_end() && entries == [(ALGORITHM, ES384)]
}
