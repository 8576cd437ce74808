//! `GenerateRandom`: bytes from the generator of the HSM.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::AccountAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::{Blob, Operation, refuse_recipient};
use crate::secret::SecretBytes;
use serde::de::IgnoredAny;

pub(super) struct GenerateRandom;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    number_of_bytes: Option<usize>,
    #[serde(borrow, default)]
    custom_key_store_id: Option<Cow<'b, str>>,
    recipient: Option<IgnoredAny>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    plaintext: Blob<SecretBytes>,
}

impl<'b> Operation<'b> for GenerateRandom {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        refuse_recipient(request.recipient.is_some())?;
        let account = call.account(AccountAction::GenerateRandom, Use::default())?;
        let bytes = request.number_of_bytes.ok_or_else(|| Error::validation("NumberOfBytes is required."))?;
        let plaintext = match &request.custom_key_store_id {
            Some(id) => account.random_of_cluster(id, bytes).await?,
            None => account.random(bytes).await?,
        };
        Ok(Response { plaintext: Blob(plaintext) })
    }
}
