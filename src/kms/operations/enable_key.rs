//! `EnableKey`: lets a key be used again.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{KeyAction, KeyState};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct EnableKey;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
}

impl<'b> Operation<'b> for EnableKey {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let key = call.open_own_key(KeyAction::EnableKey, &request.key_id, Use::default()).await?;
        if key.key().state == KeyState::Disabled {
            key.replace(|key| key.state = KeyState::Enabled).await?;
            // A rotation may have become due meanwhile.
            call.due_work_changed();
        }
        Ok(())
    }
}
