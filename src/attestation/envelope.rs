//! `CiphertextForRecipient`: CMS EnvelopedData (RFC 5652, section 6) with one recipient, as AWS KMS makes it.

use aws_lc_rs::cipher::{AES_256, AES_256_KEY_LEN, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::IV_LEN_128_BIT;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::attestation::recipient_key::RecipientKey;
use crate::public_key::der::{INTEGER, OCTET_STRING, SEQUENCE, element};

/// The cryptographic library refused; it never should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSealed;

/// PKCS #7 pads by one block at most.
const PADDING_BYTES_MAX: usize = 16;

/// RFC 5652, section 6.1, and 6.2.1: of messages and recipients that are named by their key.
const VERSION: &[u8] = &[2];
/// `id-envelopedData`, 1.2.840.113549.1.7.3.
const ENVELOPED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
/// `id-data`, 1.2.840.113549.1.7.1.
const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
/// `aes256-CBC`, 2.16.840.1.101.3.4.1.42.
const AES256_CBC: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
/// `id-RSAES-OAEP`, 1.2.840.113549.1.1.7.
const RSAES_OAEP: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07";
/// `id-mgf1`, 1.2.840.113549.1.1.8.
const MGF1: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
/// `id-sha256` with NULL.
const SHA256: &[u8] = b"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00";
const SET: u8 = 0x31;
/// `[0]` around something, or instead of a constructed tag.
const CONTEXT_0: u8 = 0xa0;
/// `[0]` instead of the tag of a string.
const CONTEXT_0_PRIMITIVE: u8 = 0x80;
/// `[1]`.
const CONTEXT_1: u8 = 0xa1;

/// A message that only who has the private key can read.
pub(super) fn seal(plaintext: &[u8], recipient: &RecipientKey) -> Result<Vec<u8>, NotSealed> {
    let mut key = Zeroizing::new([0; AES_256_KEY_LEN]);
    rand::fill(&mut *key).map_err(|_| NotSealed)?;
    let (iv, ciphertext) = encrypt(plaintext, &*key)?;
    let encrypted_key = recipient.encrypt(&*key)?;

    let version = element(INTEGER, &[VERSION]);
    let recipient = element(
        SEQUENCE,
        &[
            &version,
            &element(CONTEXT_0_PRIMITIVE, &[&recipient.identifier]),
            &oaep(),
            &element(OCTET_STRING, &[&encrypted_key]),
        ],
    );
    let content = element(
        SEQUENCE,
        &[
            DATA,
            &element(SEQUENCE, &[AES256_CBC, &element(OCTET_STRING, &[&iv])]),
            &element(CONTEXT_0_PRIMITIVE, &[&ciphertext]),
        ],
    );
    let enveloped = element(SEQUENCE, &[&version, &element(SET, &[&recipient]), &content]);
    Ok(element(SEQUENCE, &[ENVELOPED_DATA, &element(CONTEXT_0, &[&enveloped])]))
}

/// The IV and the ciphertext. It is made in the place of the plaintext, whose copy is gone by that.
fn encrypt(plaintext: &[u8], key: &[u8]) -> Result<([u8; IV_LEN_128_BIT], Vec<u8>), NotSealed> {
    let key = UnboundCipherKey::new(&AES_256, key).and_then(PaddedBlockEncryptingKey::cbc_pkcs7);
    let mut text = Zeroizing::new(Vec::with_capacity(plaintext.len() + PADDING_BYTES_MAX));
    text.extend_from_slice(plaintext);
    let context = key.and_then(|key| key.encrypt(&mut *text)).map_err(|_| NotSealed)?;
    let iv = <&[u8]>::try_from(&context).ok().and_then(|iv| iv.try_into().ok()).ok_or(NotSealed)?;
    Ok((iv, std::mem::take(&mut *text)))
}

/// RFC 4055, section 4.1: SHA-256 for both, and no label.
fn oaep() -> Vec<u8> {
    let mask = element(SEQUENCE, &[MGF1, SHA256]);
    let parameters = element(SEQUENCE, &[&element(CONTEXT_0, &[SHA256]), &element(CONTEXT_1, &[&mask])]);
    element(SEQUENCE, &[RSAES_OAEP, &parameters])
}
