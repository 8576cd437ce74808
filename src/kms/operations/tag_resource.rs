//! `TagResource`: adds tags to a key, or replaces their values.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::tags;
use crate::kms::tags::TagEntry;

pub(super) struct TagResource;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    tags: Vec<TagEntry>,
}

impl<'b> Operation<'b> for TagResource {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let conditions = tags::conditions(&request.tags);
        let usage = Use { conditions: &conditions, ..Use::default() };
        let key = call.open(KeyAction::TagResource, &request.key_id, usage).await?;
        if request.tags.is_empty() {
            return Err(Error::validation("Tags must not be empty"));
        }
        let tags = tags::merged(&key.key().tags, request.tags)?;
        key.replace(|key| key.tags = tags).await?;
        Ok(())
    }
}
