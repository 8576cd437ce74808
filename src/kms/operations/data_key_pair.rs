//! What the operations that make data key pairs have in common.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{ConditionKey, EncryptionAlgorithm, EncryptionContext, KeyAction, KeySpec};
use crate::gate::kms::{Call, GeneratedKeyPair, Use};
use crate::kms::encryption_algorithm;
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::dry_run;
use crate::kms::operations::recipient::Recipient;
use crate::kms::operations::sm2::refuse_sm2;

/// `R` is what its recipient is read as.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b, R> {
    #[serde(default)]
    encryption_context: Option<EncryptionContext>,
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    /// Which specs data key pairs can have, the model of the API says.
    pub(super) key_pair_spec: KeySpec,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    pub(super) recipient: Option<R>,
    dry_run: Option<bool>,
}

/// A data key pair, and the ARN of the key that protects it.
pub(super) async fn generate<R>(
    call: &Call<'_>,
    action: KeyAction,
    request: Request<'_, R>,
    recipient: &Recipient,
) -> Result<(GeneratedKeyPair, String), Error> {
    let context = request.encryption_context.unwrap_or_default();
    let spec = request.key_pair_spec;
    let usage = Use {
        encryption_context: Some(&context),
        grant_tokens: grant::checked_tokens(request.grant_tokens.as_deref())?,
        conditions: &[
            encryption_algorithm::condition(EncryptionAlgorithm::default()),
            (ConditionKey::DataKeyPairSpec.as_str().into(), spec.as_str().into()),
        ],
        attestation: recipient.attestation(),
        ..Use::default()
    };
    let key = call.open(action, &request.key_id, usage).await?;
    refuse_sm2("KeyPairSpec", spec)?;
    if request.dry_run == Some(true) {
        key.rehearse_encrypt(&context)?;
    }
    dry_run(request.dry_run)?;
    Ok((key.generate_key_pair(spec, &context).await?, key.arn().to_owned()))
}
