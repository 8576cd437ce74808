//! `GenerateRandom`: bytes from the generator of the HSM.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::AccountAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::recipient::{HandedOver, Recipient, RecipientInfo};
use crate::kms::operations::{Blob, Operation};
use crate::secret::SecretBytes;

pub(super) struct GenerateRandom;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    number_of_bytes: Option<usize>,
    #[serde(borrow, default)]
    custom_key_store_id: Option<Cow<'b, str>>,
    recipient: Option<RecipientInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Blob<SecretBytes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Blob<Vec<u8>>>,
}

impl<'b> Operation<'b> for GenerateRandom {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let recipient = Recipient::of(call, request.recipient)?;
        let usage = Use { attestation: recipient.attestation(), ..Use::default() };
        let account = call.account(AccountAction::GenerateRandom, usage)?;
        let bytes = request.number_of_bytes.ok_or_else(|| Error::validation("NumberOfBytes is required."))?;
        let plaintext = match &request.custom_key_store_id {
            Some(id) => account.random_of_cluster(id, bytes).await?,
            None => account.random(bytes).await?,
        };
        let HandedOver { plaintext, ciphertext_for_recipient } = recipient.hand_over(plaintext)?;
        Ok(Response { plaintext, ciphertext_for_recipient })
    }
}
