//! `DisableKey`: stops all use of a key until it is enabled again.

use crate::domain::kms::{KeyAction, KeyState};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::of_key::OfKey;

pub(super) struct DisableKey;

impl<'b> Operation<'b> for DisableKey {
    type Request = OfKey<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: OfKey<'b>) -> Result<(), Error> {
        let key = call.open(KeyAction::DisableKey, &request.key_id, Use::default()).await?;
        if key.key().state == KeyState::Enabled {
            key.replace(|key| key.state = KeyState::Disabled).await?;
        }
        Ok(())
    }
}
