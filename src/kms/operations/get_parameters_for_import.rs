//! `GetParametersForImport`: a public key to wrap material with, and the token that goes with it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{ConditionKey, KeyAction, UnixMillis, WrappingAlgorithm, WrappingKeySpec};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::{Blob, Operation};

pub(super) struct GetParametersForImport;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    wrapping_algorithm: WrappingAlgorithm,
    wrapping_key_spec: WrappingKeySpec,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    import_token: Blob<Vec<u8>>,
    public_key: Blob<Vec<u8>>,
    parameters_valid_to: UnixMillis,
}

impl<'b> Operation<'b> for GetParametersForImport {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let (algorithm, spec) = (request.wrapping_algorithm, request.wrapping_key_spec);
        let conditions = [
            (ConditionKey::WrappingAlgorithm.as_str().into(), algorithm.as_str().into()),
            (ConditionKey::WrappingKeySpec.as_str().into(), spec.as_str().into()),
        ];
        let usage = Use { conditions: &conditions, ..Use::default() };
        let key = call.open(KeyAction::GetParametersForImport, &request.key_id, usage).await?;
        let parameters = key.parameters_for_import(algorithm, spec).await?;
        Ok(Response {
            key_id: key.arn().to_owned(),
            import_token: Blob(parameters.token),
            public_key: Blob(parameters.public_key),
            parameters_valid_to: parameters.valid_to,
        })
    }
}
