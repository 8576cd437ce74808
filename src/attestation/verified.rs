//! A document that is believed: what it says of the enclave, and sealing for it.

use std::time::Duration;

use crate::attestation::chain::Roots;
use crate::attestation::cose::Signed;
use crate::attestation::document::Document;
use crate::attestation::envelope::{self, NotSealed};
use crate::attestation::invalid::Invalid;
use crate::attestation::recipient_key::RecipientKey;
use crate::domain::kms::UnixMillis;

/// AWS KMS takes documents of the last five minutes; those of a clock that is ahead of ours by as much.
const AGE_MAX: Duration = Duration::from_secs(300);

/// What a trusted authority says of an enclave.
#[derive(Debug)]
pub struct Attestation {
    module_id: String,
    /// By index: the value in lower-case hexadecimal.
    pcrs: Vec<(u8, String)>,
    key: RecipientKey,
}

impl Roots {
    /// Believes a document, or says why not.
    pub fn verify(&self, document: &[u8], now: UnixMillis) -> Result<Attestation, Invalid> {
        let signed = Signed::read(document)?;
        let document = Document::read(signed.payload)?;
        signed.verify(&self.signing_key(&document, now)?)?;
        check_age(document.timestamp_millis, now)?;
        let public_key = document.public_key.ok_or(Invalid::NoPublicKey)?;
        Ok(Attestation {
            key: RecipientKey::parse(public_key)?,
            module_id: document.module_id.to_owned(),
            pcrs: document.pcrs.iter().map(|(index, value)| (*index, hexadecimal(value))).collect(),
        })
    }
}

fn check_age(timestamp_millis: u64, now: UnixMillis) -> Result<(), Invalid> {
    let now_millis = u64::try_from(now.0).unwrap_or_default();
    let is_within = |millis: u64| Duration::from_millis(millis) <= AGE_MAX;
    if !is_within(now_millis.saturating_sub(timestamp_millis)) {
        Err(Invalid::Stale)
    } else if !is_within(timestamp_millis.saturating_sub(now_millis)) {
        Err(Invalid::FromTheFuture)
    } else {
        Ok(())
    }
}

impl Attestation {
    /// Which enclave of which instance.
    pub fn module_id(&self) -> &str {
        &self.module_id
    }

    /// Platform configuration registers, by index, in lower-case hexadecimal. That of index 0 is the digest of the
    /// image.
    pub fn pcrs(&self) -> impl Iterator<Item = (u8, &str)> {
        self.pcrs.iter().map(|(index, value)| (*index, value.as_str()))
    }

    pub fn pcr(&self, index: u8) -> Option<&str> {
        self.pcrs().find(|(own, _)| *own == index).map(|(_, value)| value)
    }

    /// `CiphertextForRecipient`: what only the enclave can read.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, NotSealed> {
        envelope::seal(plaintext, &self.key)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
