//! `CreateAlias`: a name for a key of the account.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::alias;
use crate::kms::error::Error;
use crate::kms::operations::Operation;

pub(super) struct CreateAlias;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    alias_name: Cow<'b, str>,
    #[serde(borrow)]
    target_key_id: Cow<'b, str>,
}

impl<'b> Operation<'b> for CreateAlias {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let name = alias::parse_new(&request.alias_name)?;
        call.allow_alias(KeyAction::CreateAlias, &call.caller().scope().arn(name.as_str()))?;
        if request.target_key_id.starts_with("alias/") {
            return Err(Error::validation("Aliases must refer to keys. Not aliases"));
        }
        let key = call.open(KeyAction::CreateAlias, &request.target_key_id, Use::default()).await?;
        call.create_alias(name.clone(), &key).await.map_err(|refused| alias::explain(call, &name, refused))
    }
}
