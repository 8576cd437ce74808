//! `DescribeKey`: everything that can be told about a key but its policy, aliases, tags and grants.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::Operation;
use crate::kms::operations::metadata::KeyMetadata;

pub(super) struct DescribeKey;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_metadata: KeyMetadata,
}

impl<'b> Operation<'b> for DescribeKey {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let grant_tokens = grant::checked_tokens(request.grant_tokens.as_deref())?;
        let usage = Use { grant_tokens, ..Use::default() };
        let key = call.open(KeyAction::DescribeKey, &request.key_id, usage).await?;
        let metadata = KeyMetadata::of(key.key(), key.state(), key.custom_key_store());
        Ok(Response { key_metadata: metadata.related_to(&key.related().await?) })
    }
}
