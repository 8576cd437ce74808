//! `RetireGrant`: ends a grant, by whoever it was made for.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::GrantId;
use crate::gate::kms::Call;
use crate::kms::error::Error;
use crate::kms::grant::{self, GrantToken};
use crate::kms::operations::{Operation, dry_run};

pub(super) struct RetireGrant;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow, default)]
    grant_token: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    key_id: Option<Cow<'b, str>>,
    grant_id: Option<String>,
    dry_run: Option<bool>,
}

impl<'b> Operation<'b> for RetireGrant {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let (key_arn, id) = match (request.grant_token, request.key_id, request.grant_id) {
            (Some(token), None, None) => GrantToken::parse(&token)?.into_names(),
            (None, Some(key_id), Some(id)) if key_id.starts_with("arn:") => {
                (key_id.into_owned(), GrantId(id))
            }
            (None, Some(key_id), Some(_)) => {
                return Err(Error::InvalidArn(format!("{key_id} is not the ARN of a key.")));
            }
            _ => return Err(Error::validation("Give either GrantToken, or KeyId and GrantId.")),
        };
        let key = call.open_for_retirement(&key_arn, &id).await?;
        let key = key.ok_or_else(|| grant::missing(&id))?;
        dry_run(request.dry_run)?;
        key.delete_grant(&id).await.map_err(|refused| grant::explain_missing(refused, &id))
    }
}
