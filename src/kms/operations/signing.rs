//! What Sign and Verify have in common: a key, an algorithm, and a message that go together.

use std::borrow::Cow;

use crate::domain::kms::{Algorithm, KeyAction, MessageType, SigningAlgorithm, UnfitMessage};
use crate::gate::kms::{Call, Message, OpenKey, Use};
use crate::kms::algorithm;
use crate::kms::error::Error;
use crate::kms::grant;

/// What a request says of its signature.
pub(super) struct Signing<'s, 'b> {
    pub(super) key_id: &'s str,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) grant_tokens: Option<&'s [Cow<'b, str>]>,
}

impl Signing<'_, '_> {
    /// Opens the key, if it signs such a message by such an algorithm.
    pub(super) async fn open<'a>(
        &self,
        call: &'a Call<'a>,
        action: KeyAction,
        message: &Message,
    ) -> Result<OpenKey<'a>, Error> {
        let signing = Algorithm::Signing(self.algorithm);
        let usage = Use {
            grant_tokens: grant::checked_tokens(self.grant_tokens)?,
            conditions: &[
                algorithm::condition(signing),
                algorithm::message_type_condition(message.message_type),
            ],
            ..Use::default()
        };
        let key = call.open(action, self.key_id, usage).await?;
        key.check_algorithm(signing)?;
        let checked = self.algorithm.check_message(message.message_type, message.bytes.len());
        checked.map_err(|unfit| explain(self.algorithm, unfit))?;
        Ok(key)
    }
}

fn explain(algorithm: SigningAlgorithm, unfit: UnfitMessage) -> Error {
    Error::Validation(match unfit {
        UnfitMessage::Length => format!("Digest is invalid length for algorithm {algorithm}."),
        UnfitMessage::Type(types) => {
            let types: Vec<_> = types.iter().copied().map(MessageType::as_str).collect();
            format!("{algorithm} requires MessageType {}.", types.join(" or "))
        }
    })
}
