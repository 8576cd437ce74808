//! `Recipient`: an attested enclave, which gets the plaintext of an answer sealed for it alone.

use std::sync::Arc;

use serde::Deserialize;

use crate::attestation::Attestation;
use crate::domain::kms::words;
use crate::gate::kms::Call;
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::operations::Blob;
use crate::secret::SecretBytes;

/// `RecipientInfo` of the service model.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecipientInfo {
    key_encryption_algorithm: Option<KeyEncryptionMechanism>,
    attestation_document: Option<SecretBlob>,
}

words! {
    pub(super) enum KeyEncryptionMechanism {
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
    }
}

/// Whom the plaintext of an answer is for: the enclave of a verified document, or the caller.
pub(super) struct Recipient(Option<Arc<Attestation>>);

/// What an answer has of a plaintext: one of these, and never both.
pub(super) struct HandedOver {
    pub(super) plaintext: Option<Blob<SecretBytes>>,
    pub(super) ciphertext_for_recipient: Option<Blob<Vec<u8>>>,
}

impl Recipient {
    /// Of a request that cannot have one.
    pub(super) const CALLER: Self = Self(None);

    /// Comes before any door is opened: a document that is not valid is refused whatever the caller may do.
    pub(super) fn of(call: &Call<'_>, info: Option<RecipientInfo>) -> Result<Self, Error> {
        let Some(info) = info else { return Ok(Self::CALLER) };
        let (Some(KeyEncryptionMechanism::RsaesOaepSha256), Some(document)) =
            (info.key_encryption_algorithm, info.attestation_document)
        else {
            return Err(Error::validation("Recipient needs KeyEncryptionAlgorithm and AttestationDocument."));
        };
        Ok(Self(Some(call.attest(document.expose())?)))
    }

    /// What policies can test, for [`crate::gate::kms::Use`].
    pub(super) fn attestation(&self) -> Option<&Attestation> {
        self.0.as_deref()
    }

    pub(super) fn hand_over(&self, plaintext: SecretBytes) -> Result<HandedOver, Error> {
        let Some(attestation) = &self.0 else {
            return Ok(HandedOver { plaintext: Some(Blob(plaintext)), ciphertext_for_recipient: None });
        };
        let sealed = attestation.seal(plaintext.expose());
        let sealed = sealed.map_err(|_| Error::Internal("sealing for the recipient failed".to_owned()))?;
        Ok(HandedOver { plaintext: None, ciphertext_for_recipient: Some(Blob(sealed)) })
    }
}
