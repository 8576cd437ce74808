//! The ciphertext that Decrypt and ReEncrypt start from: which key made it, and whether that is the right one.

use std::borrow::Cow;

use crate::domain::kms::{Ciphertext, EncryptionAlgorithm, EncryptionContext, KeyAction};
use crate::gate::kms::{Call, Decrypted, OpenKey, Use};
use crate::kms::blob::SecretBlob;
use crate::kms::encryption_algorithm;
use crate::kms::error::Error;

pub(super) struct Source<'s> {
    pub(super) blob: &'s [u8],
    /// The key that the caller expects.
    pub(super) key_id: Option<&'s str>,
    pub(super) algorithm: EncryptionAlgorithm,
    pub(super) context: &'s EncryptionContext,
}

/// A ciphertext with the key that decrypts it.
pub(super) struct OpenSource<'a, 's> {
    pub(super) key: OpenKey<'a>,
    ciphertext: Sealed<'s>,
    context: &'s EncryptionContext,
}

enum Sealed<'s> {
    /// RSAES-OAEP, wherever it was made.
    Oaep(EncryptionAlgorithm, &'s [u8]),
    /// Ours: it names the key that made it.
    Symmetric(Ciphertext<'s>),
}

impl<'s> Source<'s> {
    /// Opens the key that the caller names, or else the one that the ciphertext names.
    pub(super) async fn open<'a>(
        &self,
        call: &'a Call<'a>,
        action: KeyAction,
        usage: Use<'_>,
    ) -> Result<OpenSource<'a, 's>, Error> {
        let is_symmetric = self.algorithm == EncryptionAlgorithm::SymmetricDefault;
        let (key, ciphertext) = match self.key_id {
            Some(reference) => {
                let key = call.open(action, reference, usage).await?;
                encryption_algorithm::check(self.algorithm, &key, self.context)?;
                let ciphertext = if is_symmetric {
                    Sealed::Symmetric(made_by(&key, self.blob)?)
                } else {
                    Sealed::Oaep(self.algorithm, self.blob)
                };
                (key, ciphertext)
            }
            None if is_symmetric => {
                let ciphertext = Ciphertext::parse(self.blob).ok_or(Error::InvalidCiphertext)?;
                let maker = (&ciphertext.header.scope, &ciphertext.header.key_id);
                let key = call.open_maker(action, maker, usage).await?;
                encryption_algorithm::check(self.algorithm, &key, self.context)?;
                (key, Sealed::Symmetric(ciphertext))
            }
            // AWS KMS Developer Guide, RSAES_OAEP: such a ciphertext names no key.
            None => {
                let text = format!("A key must be named to decrypt with {}.", self.algorithm);
                return Err(Error::Validation(text));
            }
        };
        Ok(OpenSource { key, ciphertext, context: self.context })
    }
}

/// A ciphertext that this key made.
fn made_by<'s>(key: &OpenKey<'_>, blob: &'s [u8]) -> Result<Ciphertext<'s>, Error> {
    let ciphertext = Ciphertext::parse(blob).ok_or(Error::InvalidCiphertext)?;
    let header = &ciphertext.header;
    let is_maker = header.key_id == key.key().id && header.scope.account == key.key().scope.account;
    if is_maker { Ok(ciphertext) } else { Err(Error::IncorrectKey) }
}

impl OpenSource<'_, '_> {
    /// Fails as decryption would before the HSM is asked, and does nothing.
    pub(super) fn rehearse(&self) -> Result<(), Error> {
        match &self.ciphertext {
            Sealed::Oaep(_, blob) => self.key.check_oaep(blob)?,
            Sealed::Symmetric(ciphertext) => self.key.rehearse_decrypt(ciphertext, self.context)?,
        }
        Ok(())
    }

    pub(super) async fn decrypt(&self) -> Result<Decrypted, Error> {
        Ok(match &self.ciphertext {
            Sealed::Oaep(algorithm, blob) => {
                Decrypted { plaintext: self.key.decrypt_oaep(*algorithm, blob).await?, material_id: None }
            }
            Sealed::Symmetric(ciphertext) => self.key.decrypt(ciphertext, self.context).await?,
        })
    }
}

/// `DryRunModifiers`: whether a rehearsal needs a ciphertext.
pub(super) struct DryRunModifiers<'b> {
    pub(super) dry_run: Option<bool>,
    pub(super) modifiers: Option<Vec<Cow<'b, str>>>,
}

impl DryRunModifiers<'_> {
    /// The ciphertext; none only if the request is a rehearsal that does without.
    pub(super) fn require_ciphertext(&self, blob: Option<SecretBlob>) -> Result<Option<SecretBlob>, Error> {
        let ignores = self.modifiers.iter().flatten().any(|modifier| modifier == "IGNORE_CIPHERTEXT");
        if ignores && self.dry_run != Some(true) {
            return Err(Error::validation("DryRunModifiers can only be used together with DryRun."));
        }
        if ignores {
            return Ok(None);
        }
        let missing = "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: \
                       Member must not be null";
        blob.map(Some).ok_or_else(|| Error::validation(missing))
    }
}

/// A rehearsal without a ciphertext, which must name the key: the error that it ends with.
pub(super) async fn rehearse(
    call: &Call<'_>,
    action: KeyAction,
    key_id: Option<&str>,
    usage: Use<'_>,
) -> Error {
    let Some(reference) = key_id else {
        return Error::validation("KeyId is required when the ciphertext is ignored.");
    };
    match call.open(action, reference, usage).await {
        Ok(_) => Error::DryRun,
        Err(refused) => refused.into(),
    }
}
