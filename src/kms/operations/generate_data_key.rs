//! `GenerateDataKey`: fresh bytes, in the clear and under the key.

use serde::Serialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::data_key::{self, Request};
use crate::kms::operations::{Blob, Operation, refuse_recipient};
use crate::secret::SecretBytes;

pub(super) struct GenerateDataKey;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob<Vec<u8>>,
    plaintext: Blob<SecretBytes>,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

impl<'b> Operation<'b> for GenerateDataKey {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        refuse_recipient(request.recipient.is_some())?;
        let (data_key, key_id) = data_key::generate(call, KeyAction::GenerateDataKey, request).await?;
        Ok(Response {
            ciphertext_blob: Blob(data_key.blob),
            plaintext: Blob(data_key.plaintext),
            key_id,
            key_material_id: data_key.material_id.map(|id| id.to_string()),
        })
    }
}
