//! `GetKeyLastUsage`: the last successful cryptographic operation with a key.

use serde::Serialize;

use crate::domain::kms::{KeyAction, UnixMillis};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::of_key::OfKey;

pub(super) struct GetKeyLastUsage;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_last_usage: Option<KeyLastUsage>,
    tracking_start_date: UnixMillis,
    key_creation_date: UnixMillis,
}

impl<'b> Operation<'b> for GetKeyLastUsage {
    type Request = OfKey<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: OfKey<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::GetKeyLastUsage, &request.key_id, Use::default()).await?;
        let last = key.last_usage().await?.map(|last| KeyLastUsage {
            operation: last.operation,
            timestamp: last.at,
            kms_request_id: last.request_id,
        });
        Ok(Response {
            key_id: key.arn().to_owned(),
            key_last_usage: last,
            // Every use of a key since it was made is tracked.
            tracking_start_date: key.key().created,
            key_creation_date: key.key().created,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeyLastUsage {
    operation: String,
    timestamp: UnixMillis,
    kms_request_id: String,
}
