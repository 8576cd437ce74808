//! `GenerateMac`: the HMAC of a message.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Algorithm, KeyAction, MacAlgorithm};
use crate::gate::kms::Call;
use crate::kms::algorithm::ByAlgorithm;
use crate::kms::blob::SecretBlob;
use crate::kms::error::Error;
use crate::kms::operations::{Blob, Operation, dry_run};
use crate::secret::SecretBytes;

pub(super) struct GenerateMac;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    message: SecretBlob,
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    mac_algorithm: MacAlgorithm,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    mac: Blob<SecretBytes>,
    mac_algorithm: MacAlgorithm,
    key_id: String,
}

impl<'b> Operation<'b> for GenerateMac {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let algorithm = Algorithm::Mac(request.mac_algorithm);
        let grant_tokens = request.grant_tokens.as_deref();
        let named = ByAlgorithm { key_id: &request.key_id, algorithm, grant_tokens };
        let key = named.open(call, KeyAction::GenerateMac).await?;
        dry_run(request.dry_run)?;
        Ok(Response {
            mac: Blob(key.mac(request.mac_algorithm, request.message.into_secret()).await?),
            mac_algorithm: request.mac_algorithm,
            key_id: key.arn().to_owned(),
        })
    }
}
