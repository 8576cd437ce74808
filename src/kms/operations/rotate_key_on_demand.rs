//! `RotateKeyOnDemand`: new key material at once, whatever the schedule.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{KeyAction, RotationType};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct RotateKeyOnDemand;

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

impl<'b> Operation<'b> for RotateKeyOnDemand {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open_own_key(KeyAction::RotateKeyOnDemand, &request.key_id, Use::default()).await?;
        if key.key().on_demand_rotations() >= call.quotas().on_demand_rotations_per_key {
            return Err(Error::LimitExceeded(format!(
                "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can \
                 be performed for this key: {}",
                key.arn()
            )));
        }
        key.rotate(RotationType::OnDemand).await?;
        Ok(Response { key_id: key.key().id.to_string() })
    }
}
