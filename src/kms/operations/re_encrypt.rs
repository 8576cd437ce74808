//! `ReEncrypt`: from one key or context to another, and the plaintext stays inside.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Ciphertext, EncryptionAlgorithm, EncryptionContext, KeyAction};
use crate::gate::kms::{Call, Use};
use crate::kms::blob::SecretBlob;
use crate::kms::encryption_algorithm;
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::destination::Destination;
use crate::kms::operations::source::{self, DryRunModifiers, Source};
use crate::kms::operations::{Blob, Operation, dry_run};

pub(super) struct ReEncrypt;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    ciphertext_blob: Option<SecretBlob>,
    #[serde(default)]
    source_encryption_context: Option<EncryptionContext>,
    #[serde(borrow, default)]
    source_key_id: Option<Cow<'b, str>>,
    #[serde(borrow)]
    destination_key_id: Cow<'b, str>,
    #[serde(default)]
    destination_encryption_context: Option<EncryptionContext>,
    source_encryption_algorithm: Option<EncryptionAlgorithm>,
    destination_encryption_algorithm: Option<EncryptionAlgorithm>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
    #[serde(borrow, default)]
    dry_run_modifiers: Option<Vec<Cow<'b, str>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob<Vec<u8>>,
    source_key_id: String,
    key_id: String,
    source_encryption_algorithm: EncryptionAlgorithm,
    destination_encryption_algorithm: EncryptionAlgorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_key_material_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_key_material_id: Option<String>,
}

impl<'b> Operation<'b> for ReEncrypt {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let grant_tokens = grant::checked_tokens(request.grant_tokens.as_deref())?;
        let source_context = request.source_encryption_context.unwrap_or_default();
        let source_algorithm = request.source_encryption_algorithm.unwrap_or_default();
        let source_key_id = request.source_key_id.as_deref();
        let destination = &*request.destination_key_id;
        let blob = request.ciphertext_blob.as_ref();
        let same_key = same_key_condition(call, source_key_id, blob, destination).await;
        let source_usage = Use {
            encryption_context: Some(&source_context),
            grant_tokens,
            conditions: &[encryption_algorithm::condition(source_algorithm), same_key.clone()],
            ..Use::default()
        };
        let context = request.destination_encryption_context.unwrap_or_default();
        let algorithm = request.destination_encryption_algorithm.unwrap_or_default();
        let usage = Use {
            encryption_context: Some(&context),
            grant_tokens,
            conditions: &[encryption_algorithm::condition(algorithm), same_key],
            ..Use::default()
        };
        let modifiers = DryRunModifiers { dry_run: request.dry_run, modifiers: request.dry_run_modifiers };
        let Some(blob) = modifiers.require_ciphertext(request.ciphertext_blob)? else {
            let rehearsed =
                source::rehearse(call, KeyAction::ReEncryptFrom, source_key_id, source_usage).await;
            if rehearsed == Error::DryRun {
                call.open(KeyAction::ReEncryptTo, destination, usage).await?;
            }
            return Err(rehearsed);
        };
        let blob = blob.into_secret();
        let source = Source {
            blob: blob.expose(),
            key_id: source_key_id,
            algorithm: source_algorithm,
            context: &source_context,
        };
        let source = source.open(call, KeyAction::ReEncryptFrom, source_usage).await?;
        let key = call.open(KeyAction::ReEncryptTo, destination, usage).await?;
        let destination = Destination::new(&key, algorithm, &context)?;
        if request.dry_run == Some(true) {
            source.rehearse()?;
            destination.rehearse()?;
        }
        dry_run(request.dry_run)?;
        let decrypted = source.decrypt().await?;
        let sealed = destination.encrypt(decrypted.plaintext).await?;
        Ok(Response {
            ciphertext_blob: Blob(sealed.blob),
            source_key_id: source.key.arn().to_owned(),
            key_id: key.arn().to_owned(),
            source_encryption_algorithm: source_algorithm,
            destination_encryption_algorithm: algorithm,
            source_key_material_id: decrypted.material_id.map(|id| id.to_string()),
            destination_key_material_id: sealed.material_id.map(|id| id.to_string()),
        })
    }
}

/// `kms:ReEncryptOnSameKey`: whether the key that made the ciphertext is the one that is to encrypt.
async fn same_key_condition(
    call: &Call<'_>,
    source_key_id: Option<&str>,
    blob: Option<&SecretBlob>,
    destination_key_id: &str,
) -> (Cow<'static, str>, Cow<'static, str>) {
    let source = match source_key_id {
        Some(reference) => call.key_named(reference).await,
        None => blob.and_then(|blob| {
            let header = Ciphertext::parse(blob.expose())?.header;
            Some((header.scope, header.key_id))
        }),
    };
    call.same_key_condition(source, destination_key_id).await
}
