//! The RSA key of an enclave: what it is given is encrypted under it.

use std::ops::RangeInclusive;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::attestation::{Invalid, NotSealed};

/// `RecipientInfo`: RSA 2048 to 4096.
const BITS: RangeInclusive<usize> = 2048..=4096;

/// The key, and what a message names it by.
#[derive(Debug)]
pub(super) struct RecipientKey {
    key: OaepPublicEncryptingKey,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) identifier: Vec<u8>,
}

impl RecipientKey {
    pub(super) fn parse(der: &[u8]) -> Result<Self, Invalid> {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], _)) => {}
            Ok(_) | Err(_) => return Err(Invalid::PublicKey),
        }
        let key = PublicEncryptingKey::from_der(der).map_err(|_| Invalid::PublicKey)?;
        if !BITS.contains(&key.key_size_bits()) {
            return Err(Invalid::PublicKey);
        }
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| Invalid::PublicKey)?;
        Ok(Self { key, identifier: digest(&SHA256, der).as_ref().to_vec() })
    }

    /// RSAES-OAEP with SHA-256 (RFC 8017, section 7.1).
    pub(super) fn encrypt(&self, secret: &[u8]) -> Result<Vec<u8>, NotSealed> {
        let mut ciphertext = vec![0; self.key.ciphertext_size()];
        let written = self.key.encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut ciphertext, None);
        let length = written.map_err(|_| NotSealed)?.len();
        ciphertext.truncate(length);
        Ok(ciphertext)
    }
}
