//! `UpdateKeyDescription`: replaces the description.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct UpdateKeyDescription;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow)]
    description: Cow<'b, str>,
}

impl<'b> Operation<'b> for UpdateKeyDescription {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let key = call.open(KeyAction::UpdateKeyDescription, &request.key_id, Use::default()).await?;
        key.replace(|key| key.description = request.description.into_owned()).await?;
        Ok(())
    }
}
