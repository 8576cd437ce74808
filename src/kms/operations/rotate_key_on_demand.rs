//! `RotateKeyOnDemand`: new key material at once, whatever the schedule.

use crate::domain::kms::{KeyAction, RotationType};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::of_key::{NamesKey, OfKey};

pub(super) struct RotateKeyOnDemand;

impl<'b> Operation<'b> for RotateKeyOnDemand {
    type Request = OfKey<'b>;
    type Response = NamesKey;

    async fn execute(call: &Call<'_>, request: OfKey<'b>) -> Result<NamesKey, Error> {
        let key = call.open(KeyAction::RotateKeyOnDemand, &request.key_id, Use::default()).await?;
        if key.key().on_demand_rotations() >= call.quotas().on_demand_rotations_per_key {
            return Err(Error::LimitExceeded(format!(
                "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can \
                 be performed for this key: {}",
                key.arn()
            )));
        }
        key.rotate(RotationType::OnDemand).await?;
        Ok(NamesKey { key_id: key.key().id.to_string() })
    }
}
