//! `GenerateDataKeyWithoutPlaintext`: fresh bytes, under the key only.

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::domain::kms::KeyAction;
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::data_key::{self, Request};
use crate::kms::operations::recipient::Recipient;
use crate::kms::operations::{Blob, Operation};

pub(super) struct GenerateDataKeyWithoutPlaintext;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob<Vec<u8>>,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

impl<'b> Operation<'b> for GenerateDataKeyWithoutPlaintext {
    /// This operation knows no recipient.
    type Request = Request<'b, IgnoredAny>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Self::Request) -> Result<Response, Error> {
        let action = KeyAction::GenerateDataKeyWithoutPlaintext;
        let (data_key, key_id) = data_key::generate(call, action, request, &Recipient::CALLER).await?;
        Ok(Response {
            ciphertext_blob: Blob(data_key.blob),
            key_id,
            key_material_id: data_key.material_id.map(|id| id.to_string()),
        })
    }
}
