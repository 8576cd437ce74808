//! `DeleteAlias`: takes a name from a key, and leaves the key as it is.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::alias;
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct DeleteAlias;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    alias_name: Cow<'b, str>,
}

impl<'b> Operation<'b> for DeleteAlias {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let (name, current) = alias::find(call, KeyAction::DeleteAlias, &request.alias_name).await?;
        call.open(KeyAction::DeleteAlias, current.target.as_str(), Use::default()).await?;
        call.delete_alias(current).await.map_err(|refused| alias::explain(call, &name, refused))
    }
}
