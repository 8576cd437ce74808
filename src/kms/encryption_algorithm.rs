//! `EncryptionAlgorithm`: which go with which key.

use std::borrow::Cow;

use crate::domain::kms::{ConditionKey, EncryptionAlgorithm, EncryptionContext, Key, KeySpec};
use crate::kms::error::Error;

pub(super) fn condition(algorithm: EncryptionAlgorithm) -> (Cow<'static, str>, Cow<'static, str>) {
    (ConditionKey::EncryptionAlgorithm.as_str().into(), algorithm.as_str().into())
}

/// Whether the key has this algorithm, and the algorithm a context.
pub(super) fn check(
    algorithm: EncryptionAlgorithm,
    key: &Key,
    context: &EncryptionContext,
) -> Result<(), Error> {
    if !key.kind().encryption_algorithms().contains(&algorithm) {
        let text = format!("Algorithm {algorithm} is incompatible with key spec {}.", key.spec);
        return Err(Error::InvalidKeyUsage(text));
    }
    if key.spec != KeySpec::SymmetricDefault && !context.is_empty() {
        let text = "EncryptionContext is only supported with symmetric encryption keys.";
        return Err(Error::validation(text));
    }
    Ok(())
}
