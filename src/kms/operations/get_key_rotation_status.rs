//! `GetKeyRotationStatus`: whether, how often and when next the key rotates.

use serde::Serialize;

use crate::domain::kms::{KeyAction, UnixMillis};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::of_key::OfKey;

pub(super) struct GetKeyRotationStatus;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    key_rotation_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_period_in_days: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_rotation_date: Option<UnixMillis>,
}

impl<'b> Operation<'b> for GetKeyRotationStatus {
    type Request = OfKey<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: OfKey<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::GetKeyRotationStatus, &request.key_id, Use::default()).await?;
        // A key that waits for its deletion does not rotate.
        let rotation = key.key().rotation.filter(|_| key.key().deletion.is_none());
        Ok(Response {
            key_id: key.key().id.to_string(),
            key_rotation_enabled: rotation.is_some(),
            rotation_period_in_days: rotation.map(|rotation| rotation.period_days),
            next_rotation_date: rotation.map(|rotation| rotation.next),
        })
    }
}
