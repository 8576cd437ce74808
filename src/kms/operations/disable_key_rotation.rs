//! `DisableKeyRotation`: no further automatic rotation; what was rotated stays.

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::of_key::OfKey;

pub(super) struct DisableKeyRotation;

impl<'b> Operation<'b> for DisableKeyRotation {
    type Request = OfKey<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: OfKey<'b>) -> Result<(), Error> {
        let key = call.open(KeyAction::DisableKeyRotation, &request.key_id, Use::default()).await?;
        if key.key().rotation.is_some() {
            key.replace(|key| key.rotation = None).await?;
        }
        Ok(())
    }
}
