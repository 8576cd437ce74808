//! `CancelKeyDeletion`: takes a key back from deletion; it is disabled then.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{KeyAction, KeyState};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct CancelKeyDeletion;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
}

impl<'b> Operation<'b> for CancelKeyDeletion {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open_own_key(KeyAction::CancelKeyDeletion, &request.key_id, Use::default()).await?;
        let has_material = !key.key().materials.is_empty();
        key.replace(|key| {
            key.state = if has_material { KeyState::Disabled } else { KeyState::PendingImport };
            key.deletion = None;
        })
        .await?;
        Ok(Response { key_id: key.arn().to_owned() })
    }
}
