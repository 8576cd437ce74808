//! `EnableKey`: lets a key be used again.

use crate::domain::kms::{KeyAction, KeyState};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::of_key::OfKey;

pub(super) struct EnableKey;

impl<'b> Operation<'b> for EnableKey {
    type Request = OfKey<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: OfKey<'b>) -> Result<(), Error> {
        let key = call.open(KeyAction::EnableKey, &request.key_id, Use::default()).await?;
        if key.key().state == KeyState::Disabled {
            key.replace(|key| key.state = KeyState::Enabled).await?;
            // A rotation may have become due meanwhile.
            call.due_work_changed();
        }
        Ok(())
    }
}
