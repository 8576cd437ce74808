//! `UpdatePrimaryRegion`: makes a replica the primary key, and the primary key a replica.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{ConditionKey, KeyAction};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::replicate_key::region;

pub(super) struct UpdatePrimaryRegion;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow)]
    primary_region: Cow<'b, str>,
}

impl<'b> Operation<'b> for UpdatePrimaryRegion {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let region = region(&request.primary_region)?;
        let condition = [(ConditionKey::PrimaryRegion.as_str().into(), region.as_str().into())];
        let usage = Use { conditions: &condition, ..Use::default() };
        let primary = call.open(KeyAction::UpdatePrimaryRegion, &request.key_id, usage).await?;
        let elsewhere = call.elsewhere(region.clone());
        let there = elsewhere.call(call);
        let id = primary.key().id.as_str();
        let replica = there.open(KeyAction::UpdatePrimaryRegion, id, usage).await?;
        Ok(primary.hand_over_to(&replica).await?)
    }
}
