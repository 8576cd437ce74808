//! `Verify`: whether a signature is one of the key; one that is not is an error.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{KeyAction, MessageType, SigningAlgorithm};
use crate::gate::kms::{Call, Message};
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::operations::signing::Signing;
use crate::kms::operations::{Operation, dry_run};

pub(super) struct Verify;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    message: SecretBlob,
    message_type: Option<MessageType>,
    signature: SecretBlob,
    signing_algorithm: SigningAlgorithm,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    signature_valid: bool,
    signing_algorithm: SigningAlgorithm,
}

impl<'b> Operation<'b> for Verify {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let algorithm = request.signing_algorithm;
        let message_type = request.message_type.unwrap_or_default();
        let message = Message { message_type, bytes: request.message.into_secret() };
        let grant_tokens = request.grant_tokens.as_deref();
        let signing = Signing { key_id: &request.key_id, algorithm, grant_tokens };
        let key = signing.open(call, KeyAction::Verify, &message).await?;
        dry_run(request.dry_run)?;
        if !key.verify(algorithm, &message, request.signature.expose())? {
            return Err(Error::InvalidSignatureOfMessage);
        }
        Ok(Response { key_id: key.arn().to_owned(), signature_valid: true, signing_algorithm: algorithm })
    }
}
