//! `GenerateDataKeyWithoutPlaintext`: fresh bytes, under the key only.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{EncryptionContext, KeyAction};
use crate::gate::kms::{Call, Use};
use crate::kms::data_key::{DataKeySpec, data_key_bytes};
use crate::kms::encryption_algorithm::EncryptionAlgorithm;
use crate::kms::error::Error;
use crate::kms::operations::{Blob, Operation, dry_run};

pub(super) struct GenerateDataKeyWithoutPlaintext;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(default)]
    encryption_context: Option<EncryptionContext>,
    number_of_bytes: Option<usize>,
    key_spec: Option<DataKeySpec>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob<Vec<u8>>,
    key_id: String,
    key_material_id: String,
}

impl<'b> Operation<'b> for GenerateDataKeyWithoutPlaintext {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let context = request.encryption_context.unwrap_or_default();
        let usage = Use {
            encryption_context: Some(&context),
            grant_tokens: request.grant_tokens.as_deref().unwrap_or_default(),
            conditions: &[EncryptionAlgorithm::default().condition()],
        };
        let key = call.open(KeyAction::GenerateDataKeyWithoutPlaintext, &request.key_id, usage).await?;
        let bytes = data_key_bytes(request.key_spec, request.number_of_bytes)?;
        dry_run(request.dry_run)?;
        let data_key = key.generate_data_key(bytes, &context).await?;
        Ok(Response {
            ciphertext_blob: Blob(data_key.blob),
            key_id: key.arn().to_owned(),
            key_material_id: data_key.material_id.to_string(),
        })
    }
}
