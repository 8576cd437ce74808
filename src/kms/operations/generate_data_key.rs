//! `GenerateDataKey`: fresh bytes, in the clear and under the key.

use serde::Serialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::data_key::{self, Request};
use crate::kms::operations::recipient::{HandedOver, Recipient, RecipientInfo};
use crate::kms::operations::{Blob, Operation};
use crate::secret::SecretBytes;

pub(super) struct GenerateDataKey;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Blob<SecretBytes>>,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Blob<Vec<u8>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

impl<'b> Operation<'b> for GenerateDataKey {
    type Request = Request<'b, RecipientInfo>;
    type Response = Response;

    async fn execute(call: &Call<'_>, mut request: Self::Request) -> Result<Response, Error> {
        let recipient = Recipient::of(call, request.recipient.take())?;
        let (data_key, key_id) =
            data_key::generate(call, KeyAction::GenerateDataKey, request, &recipient).await?;
        let HandedOver { plaintext, ciphertext_for_recipient } = recipient.hand_over(data_key.plaintext)?;
        Ok(Response {
            ciphertext_blob: Blob(data_key.blob),
            plaintext,
            key_id,
            ciphertext_for_recipient,
            key_material_id: data_key.material_id.map(|id| id.to_string()),
        })
    }
}
