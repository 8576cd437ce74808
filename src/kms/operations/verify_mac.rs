//! `VerifyMac`: whether an HMAC is one of the key; one that is not is an error.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Algorithm, KeyAction, MacAlgorithm};
use crate::gate::kms::Call;
use crate::kms::algorithm::ByAlgorithm;
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::operations::{Operation, dry_run};

pub(super) struct VerifyMac;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    message: SecretBlob,
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    mac_algorithm: MacAlgorithm,
    mac: SecretBlob,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    mac_valid: bool,
    mac_algorithm: MacAlgorithm,
}

impl<'b> Operation<'b> for VerifyMac {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let algorithm = Algorithm::Mac(request.mac_algorithm);
        let grant_tokens = request.grant_tokens.as_deref();
        let named = ByAlgorithm { key_id: &request.key_id, algorithm, grant_tokens };
        let key = named.open(call, KeyAction::VerifyMac).await?;
        dry_run(request.dry_run)?;
        let message = request.message.into_secret();
        if !key.verify_mac(request.mac_algorithm, message, request.mac.expose()).await? {
            return Err(Error::InvalidMac);
        }
        Ok(Response { key_id: key.arn().to_owned(), mac_valid: true, mac_algorithm: request.mac_algorithm })
    }
}
