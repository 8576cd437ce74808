//! The ciphertext that Decrypt and ReEncrypt start from: which key made it, and whether that is the right one.

use std::borrow::Cow;

use crate::domain::kms::{Ciphertext, EncryptionAlgorithm, EncryptionContext, KeyAction};
use crate::gate::kms::{Call, OpenKey, Use};
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

impl<'s> Source<'s> {
    /// Opens the key that the caller names, or else the one that the ciphertext names.
    pub(super) async fn open<'a>(
        &self,
        call: &'a Call<'a>,
        action: KeyAction,
        usage: Use<'_>,
    ) -> Result<(OpenKey<'a>, Ciphertext<'s>), Error> {
        let Some(reference) = self.key_id else {
            let ciphertext = Ciphertext::parse(self.blob).ok_or(Error::InvalidCiphertext)?;
            let maker = (&ciphertext.header.scope, &ciphertext.header.key_id);
            let key = call.open_maker(action, maker, usage).await?;
            encryption_algorithm::check(self.algorithm, key.key(), self.context)?;
            return Ok((key, ciphertext));
        };
        let key = call.open(action, reference, usage).await?;
        encryption_algorithm::check(self.algorithm, key.key(), self.context)?;
        let ciphertext = Ciphertext::parse(self.blob).ok_or(Error::InvalidCiphertext)?;
        let header = &ciphertext.header;
        let is_maker = header.key_id == key.key().id && header.scope.account == key.key().scope.account;
        if !is_maker {
            return Err(Error::IncorrectKey);
        }
        Ok((key, ciphertext))
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
