//! `UntagResource`: removes tags from a key; absent ones are no error.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct UntagResource;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow)]
    tag_keys: Vec<Cow<'b, str>>,
}

impl<'b> Operation<'b> for UntagResource {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let conditions: Vec<_> =
            request.tag_keys.iter().map(|key| ("aws:TagKeys".into(), key.clone())).collect();
        let usage = Use { conditions: &conditions, ..Use::default() };
        let key = call.open(KeyAction::UntagResource, &request.key_id, usage).await?;
        if request.tag_keys.is_empty() {
            return Err(Error::validation("TagKeys must not be empty"));
        }
        key.replace(|key| key.tags.retain(|tag| !request.tag_keys.iter().any(|gone| *gone == tag.key)))
            .await?;
        Ok(())
    }
}
