//! `EncryptionAlgorithm`: which go with which key, and what they can encrypt.

use std::borrow::Cow;

use crate::domain::kms::{Algorithm, EncryptionAlgorithm, EncryptionContext, KeySpec};
use crate::gate::kms::OpenKey;
use crate::kms::algorithm;
use crate::kms::error::Error;

pub(super) fn condition(algorithm: EncryptionAlgorithm) -> (Cow<'static, str>, Cow<'static, str>) {
    algorithm::condition(Algorithm::Encryption(algorithm))
}

/// Whether the key has this algorithm, and the algorithm a context.
pub(super) fn check(
    algorithm: EncryptionAlgorithm,
    key: &OpenKey<'_>,
    context: &EncryptionContext,
) -> Result<(), Error> {
    key.check_algorithm(Algorithm::Encryption(algorithm))?;
    if algorithm != EncryptionAlgorithm::SymmetricDefault && !context.is_empty() {
        let text = "EncryptionContext is only supported with symmetric encryption keys.";
        return Err(Error::validation(text));
    }
    Ok(())
}

/// Whether keys of this spec can encrypt so much with this algorithm.
pub(super) fn check_length(
    algorithm: EncryptionAlgorithm,
    spec: KeySpec,
    plaintext_bytes: usize,
) -> Result<(), Error> {
    match algorithm.plaintext_bytes_max(spec) {
        Some(max) if plaintext_bytes > max => Err(Error::validation(format!(
            "Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {max} bytes."
        ))),
        Some(_) | None => Ok(()),
    }
}
