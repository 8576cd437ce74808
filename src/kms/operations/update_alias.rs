//! `UpdateAlias`: points an alias at another key.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::alias;
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct UpdateAlias;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    alias_name: Cow<'b, str>,
    #[serde(borrow)]
    target_key_id: Cow<'b, str>,
}

impl<'b> Operation<'b> for UpdateAlias {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let (name, current) = alias::find(call, KeyAction::UpdateAlias, &request.alias_name).await?;
        let before = call.open(KeyAction::UpdateAliasFrom, current.target.as_str(), Use::default()).await?;
        let key = call.open(KeyAction::UpdateAlias, &request.target_key_id, Use::default()).await?;
        alias::check_same_kind(before.key(), key.key())?;
        call.point_alias(current, &key).await.map_err(|refused| alias::explain(call, &name, refused))
    }
}
