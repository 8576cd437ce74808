//! `DisableKey`: stops all use of a key until it is enabled again.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{KeyAction, KeyState};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct DisableKey;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
}

impl<'b> Operation<'b> for DisableKey {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let key = call.open_own_key(KeyAction::DisableKey, &request.key_id, Use::default()).await?;
        if key.key().state == KeyState::Enabled {
            key.replace(|key| key.state = KeyState::Disabled).await?;
        }
        Ok(())
    }
}
