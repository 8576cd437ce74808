//! `Encrypt`: a small text under the current material of a key.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{EncryptionAlgorithm, EncryptionContext, KeyAction};
use crate::gate::kms::{Call, Use};
use crate::kms::blob::SecretBlob;
use crate::kms::encryption_algorithm;
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::destination::Destination;
use crate::kms::operations::{Blob, Operation, dry_run};

pub(super) struct Encrypt;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    plaintext: SecretBlob,
    #[serde(default)]
    encryption_context: Option<EncryptionContext>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    encryption_algorithm: Option<EncryptionAlgorithm>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob<Vec<u8>>,
    key_id: String,
    encryption_algorithm: EncryptionAlgorithm,
}

impl<'b> Operation<'b> for Encrypt {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let context = request.encryption_context.unwrap_or_default();
        let algorithm = request.encryption_algorithm.unwrap_or_default();
        let usage = Use {
            encryption_context: Some(&context),
            grant_tokens: grant::checked_tokens(request.grant_tokens.as_deref())?,
            conditions: &[encryption_algorithm::condition(algorithm)],
            ..Use::default()
        };
        let key = call.open(KeyAction::Encrypt, &request.key_id, usage).await?;
        let destination = Destination::new(&key, algorithm, &context)?;
        let plaintext = request.plaintext.into_secret();
        destination.check_length(plaintext.len())?;
        if request.dry_run == Some(true) {
            destination.rehearse()?;
        }
        dry_run(request.dry_run)?;
        let sealed = destination.encrypt(plaintext).await?;
        Ok(Response {
            ciphertext_blob: Blob(sealed.blob),
            key_id: key.arn().to_owned(),
            encryption_algorithm: algorithm,
        })
    }
}
