//! How long a data key is to be.

use crate::domain::kms::words;
use crate::kms::error::Error;

words! {
    /// `DataKeySpec` of the service model.
    pub(super) enum DataKeySpec {
        Aes128 = "AES_128",
        Aes256 = "AES_256",
    }
}

/// Exactly one of the two says it.
pub(super) fn data_key_bytes(
    spec: Option<DataKeySpec>,
    number_of_bytes: Option<usize>,
) -> Result<usize, Error> {
    match (spec, number_of_bytes) {
        (Some(DataKeySpec::Aes128), None) => Ok(16),
        (Some(DataKeySpec::Aes256), None) => Ok(32),
        (None, Some(bytes)) => Ok(bytes),
        (None, None) | (Some(_), Some(_)) => {
            Err(Error::validation("Please specify either number of bytes or key spec."))
        }
    }
}
