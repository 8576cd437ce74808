//! `RevokeGrant`: ends a grant, by whoever controls the key.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{GrantId, KeyAction};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::grant;
use crate::kms::operations::{Operation, dry_run};

pub(super) struct RevokeGrant;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    grant_id: String,
    dry_run: Option<bool>,
}

impl<'b> Operation<'b> for RevokeGrant {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let key = call.open(KeyAction::RevokeGrant, &request.key_id, Use::default()).await?;
        let id = GrantId(request.grant_id);
        if key.grant(&id).await?.is_none() {
            return Err(grant::missing(&id));
        }
        dry_run(request.dry_run)?;
        key.delete_grant(&id).await.map_err(|refused| grant::explain_missing(refused, &id))
    }
}
