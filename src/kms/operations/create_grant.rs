//! `CreateGrant`: a permission on one key for one principal.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{GrantOperation, KeyAction};
use crate::gate::kms::{Call, HandedOn, NewGrant, Use};
use crate::kms::error::Error;
use crate::kms::grant::{self, GrantConstraintsEntry, GrantToken, NO_GRANTEE};
use crate::kms::operations::{Operation, dry_run};

pub(super) struct CreateGrant;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow, default)]
    grantee_principal: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    grantee_service_principal: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    retiring_principal: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    retiring_service_principal: Option<Cow<'b, str>>,
    operations: Vec<GrantOperation>,
    constraints: Option<GrantConstraintsEntry>,
    name: Option<String>,
    #[serde(borrow, default)]
    grant_tokens: Option<Vec<Cow<'b, str>>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    grant_token: String,
    grant_id: String,
}

impl<'b> Operation<'b> for CreateGrant {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let partition = call.caller().region.partition();
        let grantee =
            grant::principal(request.grantee_principal, request.grantee_service_principal, partition)?;
        let grantee = grantee.ok_or_else(|| Error::validation(NO_GRANTEE))?;
        let retiring =
            grant::principal(request.retiring_principal, request.retiring_service_principal, partition)?;
        let constraints = request.constraints.unwrap_or_default().into();
        grant::check_principals(&grantee, retiring.as_ref(), &constraints)?;
        let conditions = grant::conditions(&request.operations, (&grantee, retiring.as_ref()), &constraints);
        let usage = Use {
            grant_tokens: grant::checked_tokens(request.grant_tokens.as_deref())?,
            conditions: &conditions,
            hands_on: Some(HandedOn { operations: &request.operations, constraints: &constraints }),
            ..Use::default()
        };
        let key = call.open(KeyAction::CreateGrant, &request.key_id, usage).await?;
        grant::check_operations(key.key(), &request.operations, &constraints)?;
        let new = NewGrant {
            name: request.name,
            issuing_account: call.caller().account_root_arn(),
            grantee: grantee.clone(),
            retiring: retiring.clone(),
            operations: request.operations.clone(),
            constraints: constraints.clone(),
        };
        if request.dry_run == Some(true) {
            key.rehearse_grant(&new).await.map_err(grant::explain)?;
        }
        dry_run(request.dry_run)?;
        let id = key.create_grant(new).await.map_err(grant::explain)?;
        Ok(Response { grant_token: GrantToken::of(key.key(), &id).to_string(), grant_id: id.0 })
    }
}
