//! `GenerateDataKeyPair`: a key pair for the caller, its private key in the clear and under the key.

use serde::Serialize;

use crate::domain::kms::{KeyAction, KeySpec};
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::operations::data_key_pair::{self, Request};
use crate::kms::operations::recipient::{HandedOver, Recipient, RecipientInfo};
use crate::kms::operations::{Blob, Operation};
use crate::secret::SecretBytes;

pub(super) struct GenerateDataKeyPair;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    private_key_ciphertext_blob: Blob<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key_plaintext: Option<Blob<SecretBytes>>,
    public_key: Blob<Vec<u8>>,
    key_id: String,
    key_pair_spec: KeySpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Blob<Vec<u8>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
}

impl<'b> Operation<'b> for GenerateDataKeyPair {
    type Request = Request<'b, RecipientInfo>;
    type Response = Response;

    async fn execute(call: &Call<'_>, mut request: Self::Request) -> Result<Response, Error> {
        let recipient = Recipient::of(call, request.recipient.take())?;
        let key_pair_spec = request.key_pair_spec;
        let (pair, key_id) =
            data_key_pair::generate(call, KeyAction::GenerateDataKeyPair, request, &recipient).await?;
        let HandedOver { plaintext, ciphertext_for_recipient } = recipient.hand_over(pair.private_key)?;
        Ok(Response {
            private_key_ciphertext_blob: Blob(pair.private_key_blob),
            private_key_plaintext: plaintext,
            public_key: Blob(pair.public_key),
            key_id,
            key_pair_spec,
            ciphertext_for_recipient,
            key_material_id: pair.material_id.map(|id| id.to_string()),
        })
    }
}
