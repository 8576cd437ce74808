//! `Sign`: a signature by the private key of a key pair.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{KeyAction, MessageType, SigningAlgorithm};
use crate::gate::kms::{Call, Message};
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::operations::signing::Signing;
use crate::kms::operations::{Blob, Operation, dry_run};

pub(super) struct Sign;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    message: SecretBlob,
    message_type: Option<MessageType>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    signing_algorithm: SigningAlgorithm,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    signature: Blob<Vec<u8>>,
    signing_algorithm: SigningAlgorithm,
}

impl<'b> Operation<'b> for Sign {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let algorithm = request.signing_algorithm;
        let message_type = request.message_type.unwrap_or_default();
        let message = Message { message_type, bytes: request.message.into_secret() };
        let grant_tokens = request.grant_tokens.as_deref();
        let signing = Signing { key_id: &request.key_id, algorithm, grant_tokens };
        let key = signing.open(call, KeyAction::Sign, &message).await?;
        dry_run(request.dry_run)?;
        Ok(Response {
            key_id: key.arn().to_owned(),
            signature: Blob(key.sign(algorithm, message).await?),
            signing_algorithm: algorithm,
        })
    }
}
