//! What the operations that make data keys have in common.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{EncryptionAlgorithm, EncryptionContext, KeyAction, words};
use crate::gate::kms::{Call, GeneratedDataKey, Use};
use crate::kms::encryption_algorithm;
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::dry_run;
use crate::kms::operations::recipient::Recipient;

/// `R` is what its recipient is read as.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b, R> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(default)]
    encryption_context: Option<EncryptionContext>,
    number_of_bytes: Option<usize>,
    key_spec: Option<DataKeySpec>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    pub(super) recipient: Option<R>,
    dry_run: Option<bool>,
}

words! {
    /// `DataKeySpec` of the service model.
    pub(super) enum DataKeySpec {
        Aes128 = "AES_128",
        Aes256 = "AES_256",
    }
}

/// A data key, and the ARN of the key that protects it.
pub(super) async fn generate<R>(
    call: &Call<'_>,
    action: KeyAction,
    request: Request<'_, R>,
    recipient: &Recipient,
) -> Result<(GeneratedDataKey, String), Error> {
    let context = request.encryption_context.unwrap_or_default();
    let usage = Use {
        encryption_context: Some(&context),
        grant_tokens: grant::checked_tokens(request.grant_tokens.as_deref())?,
        conditions: &[encryption_algorithm::condition(EncryptionAlgorithm::default())],
        attestation: recipient.attestation(),
        ..Use::default()
    };
    let key = call.open(action, &request.key_id, usage).await?;
    let bytes = bytes(request.key_spec, request.number_of_bytes)?;
    if request.dry_run == Some(true) {
        key.rehearse_encrypt(&context)?;
    }
    dry_run(request.dry_run)?;
    Ok((key.generate_data_key(bytes, &context).await?, key.arn().to_owned()))
}

/// Exactly one of the two says how long the data key is to be.
fn bytes(spec: Option<DataKeySpec>, number_of_bytes: Option<usize>) -> Result<usize, Error> {
    match (spec, number_of_bytes) {
        (Some(DataKeySpec::Aes128), None) => Ok(16),
        (Some(DataKeySpec::Aes256), None) => Ok(32),
        (None, Some(bytes)) => Ok(bytes),
        (None, None) | (Some(_), Some(_)) => {
            Err(Error::validation("Please specify either number of bytes or key spec."))
        }
    }
}
