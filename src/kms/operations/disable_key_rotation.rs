//! `DisableKeyRotation`: no further automatic rotation; what was rotated stays.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct DisableKeyRotation;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
}

impl<'b> Operation<'b> for DisableKeyRotation {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let key = call.open_own_key(KeyAction::DisableKeyRotation, &request.key_id, Use::default()).await?;
        if key.key().rotation.is_some() {
            key.replace(|key| key.rotation = None).await?;
        }
        Ok(())
    }
}
