//! `GenerateDataKeyPairWithoutPlaintext`: a key pair for the caller, its private key under the key only.

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::domain::kms::{KeyAction, KeySpec};
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::data_key_pair::{self, Request};
use crate::kms::operations::recipient::Recipient;
use crate::kms::operations::{Blob, Operation};

pub(super) struct GenerateDataKeyPairWithoutPlaintext;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    private_key_ciphertext_blob: Blob<Vec<u8>>,
    public_key: Blob<Vec<u8>>,
    key_id: String,
    key_pair_spec: KeySpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

impl<'b> Operation<'b> for GenerateDataKeyPairWithoutPlaintext {
    /// This operation knows no recipient.
    type Request = Request<'b, IgnoredAny>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Self::Request) -> Result<Response, Error> {
        let key_pair_spec = request.key_pair_spec;
        let action = KeyAction::GenerateDataKeyPairWithoutPlaintext;
        let (pair, key_id) = data_key_pair::generate(call, action, request, &Recipient::CALLER).await?;
        Ok(Response {
            private_key_ciphertext_blob: Blob(pair.private_key_blob),
            public_key: Blob(pair.public_key),
            key_id,
            key_pair_spec,
            key_material_id: pair.material_id.map(|id| id.to_string()),
        })
    }
}
