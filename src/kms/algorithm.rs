//! Algorithms that a request names, as policies ask for them.

use std::borrow::Cow;

use crate::domain::kms::{Algorithm, ConditionKey, MessageType};

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
