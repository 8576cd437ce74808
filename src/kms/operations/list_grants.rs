//! `ListGrants`: the grants of a key.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Grant, GrantId, GrantPrincipal, KeyAction};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::grant::{self, GrantListEntry};
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};

const PAGE_LIMITS: PageLimits = PageLimits { usual: 50, max: 100 };

pub(super) struct ListGrants;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    limit: Option<usize>,
    #[serde(borrow, default)]
    marker: Option<Cow<'b, str>>,
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    grant_id: Option<String>,
    #[serde(borrow, default)]
    grantee_principal: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    grantee_service_principal: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    grants: Vec<GrantListEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl<'b> Operation<'b> for ListGrants {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::ListGrants, &request.key_id, Use::default()).await?;
        let partition = call.caller().region.partition();
        let grantee =
            grant::principal(request.grantee_principal, request.grantee_service_principal, partition)?;
        let filter = grantee.as_ref().map(GrantPrincipal::as_str).unwrap_or_default();
        let page = Page::new(
            call,
            &["ListGrants", key.arn(), filter],
            PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker },
        );
        let after = page.after(|id| Some(GrantId(id.to_owned())))?;
        if let Some(id) = request.grant_id {
            let is_wanted = |grant: &Grant| grantee.as_ref().is_none_or(|grantee| grant.grantee == *grantee);
            let grant = key.grant(&GrantId(id)).await?.filter(is_wanted);
            let grants = grant.iter().map(GrantListEntry::of).collect();
            return Ok(Response { grants, next_marker: None, truncated: false });
        }
        let grants = key.grants_page(grantee.as_ref(), after.as_ref(), page.fetch()).await?;
        let (grants, next_marker) = page.cut(grants, |grant| grant.id.0.clone());
        let grants = grants.iter().map(GrantListEntry::of).collect();
        Ok(Response { grants, truncated: next_marker.is_some(), next_marker })
    }
}
