//! `Decrypt`: what Encrypt and the data key operations made; the ciphertext names the key.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{EncryptionAlgorithm, EncryptionContext, KeyAction};
use crate::gate::kms::{Call, Use};
use crate::kms::blob::SecretBlob;
use crate::kms::encryption_algorithm;
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::recipient::{HandedOver, Recipient, RecipientInfo};
use crate::kms::operations::source::{self, DryRunModifiers, Source};
use crate::kms::operations::{Blob, Operation, dry_run};
use crate::secret::SecretBytes;

pub(super) struct Decrypt;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    ciphertext_blob: Option<SecretBlob>,
    #[serde(default)]
    encryption_context: Option<EncryptionContext>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    #[serde(borrow, default)]
    key_id: Option<Cow<'b, str>>,
    encryption_algorithm: Option<EncryptionAlgorithm>,
    recipient: Option<RecipientInfo>,
    dry_run: Option<bool>,
    #[serde(borrow, default)]
    dry_run_modifiers: Option<Vec<Cow<'b, str>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Blob<SecretBytes>>,
    encryption_algorithm: EncryptionAlgorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Blob<Vec<u8>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

impl<'b> Operation<'b> for Decrypt {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let recipient = Recipient::of(call, request.recipient)?;
        let context = request.encryption_context.unwrap_or_default();
        let algorithm = request.encryption_algorithm.unwrap_or_default();
        let usage = Use {
            encryption_context: Some(&context),
            grant_tokens: grant::checked_tokens(request.grant_tokens.as_deref())?,
            conditions: &[encryption_algorithm::condition(algorithm)],
            attestation: recipient.attestation(),
            ..Use::default()
        };
        let modifiers = DryRunModifiers { dry_run: request.dry_run, modifiers: request.dry_run_modifiers };
        let blob = modifiers.require_ciphertext(request.ciphertext_blob)?;
        let Some(blob) = blob else {
            return Err(source::rehearse(call, KeyAction::Decrypt, request.key_id.as_deref(), usage).await);
        };
        let blob = blob.into_secret();
        let source =
            Source { blob: blob.expose(), key_id: request.key_id.as_deref(), algorithm, context: &context };
        let source = source.open(call, KeyAction::Decrypt, usage).await?;
        if request.dry_run == Some(true) {
            source.rehearse()?;
        }
        dry_run(request.dry_run)?;
        let decrypted = source.decrypt().await?;
        let HandedOver { plaintext, ciphertext_for_recipient } = recipient.hand_over(decrypted.plaintext)?;
        Ok(Response {
            key_id: source.key.arn().to_owned(),
            plaintext,
            encryption_algorithm: algorithm,
            ciphertext_for_recipient,
            key_material_id: decrypted.material_id.map(|id| id.to_string()),
        })
    }
}
