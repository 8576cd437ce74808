//! Algorithms that a request names: as policies ask for them, and the keys that have them.

use std::borrow::Cow;

use crate::domain::kms::{Algorithm, ConditionKey, KeyAction, MessageType};
use crate::gate::kms::{Call, OpenKey, Use};
use crate::kms::error::Error;
use crate::kms::grant;

/// A key, as a request names it that says by which algorithm the key is to work.
pub(super) struct ByAlgorithm<'s, 'b> {
    pub(super) key_id: &'s str,
    pub(super) algorithm: Algorithm,
    pub(super) grant_tokens: Option<&'s [Cow<'b, str>]>,
}

impl ByAlgorithm<'_, '_> {
    /// Opens the key, if it has the algorithm.
    pub(super) async fn open<'a>(&self, call: &'a Call<'a>, action: KeyAction) -> Result<OpenKey<'a>, Error> {
        let usage = Use {
            grant_tokens: grant::checked_tokens(self.grant_tokens)?,
            conditions: &[condition(self.algorithm)],
            ..Use::default()
        };
        let key = call.open(action, self.key_id, usage).await?;
        key.check_algorithm(self.algorithm)?;
        Ok(key)
    }
}

/// Encapsulation is asked for by the key that is for encryption.
pub(super) fn condition(algorithm: Algorithm) -> (Cow<'static, str>, Cow<'static, str>) {
    let key = match algorithm {
        Algorithm::Encapsulation(_) | Algorithm::Encryption(_) => ConditionKey::EncryptionAlgorithm,
        Algorithm::KeyAgreement(_) => ConditionKey::KeyAgreementAlgorithm,
        Algorithm::Mac(_) => ConditionKey::MacAlgorithm,
        Algorithm::Signing(_) => ConditionKey::SigningAlgorithm,
    };
    (key.as_str().into(), algorithm.as_str().into())
}

pub(super) fn message_type_condition(message_type: MessageType) -> (Cow<'static, str>, Cow<'static, str>) {
    (ConditionKey::MessageType.as_str().into(), message_type.as_str().into())
}
