//! `ListRetirableGrants`: the grants of the account and Region that a principal may retire.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{AccountAction, GrantId};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::grant::{self, GrantListEntry, NO_RETIRING};
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};

const PAGE_LIMITS: PageLimits = PageLimits { usual: 50, max: 100 };

pub(super) struct ListRetirableGrants;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    limit: Option<usize>,
    #[serde(borrow, default)]
    marker: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    retiring_principal: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    retiring_service_principal: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    grants: Vec<GrantListEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl<'b> Operation<'b> for ListRetirableGrants {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let partition = call.caller().region.partition();
        let principal =
            grant::principal(request.retiring_principal, request.retiring_service_principal, partition)?;
        let principal = principal.ok_or_else(|| Error::validation(NO_RETIRING))?;
        let account = call.account(AccountAction::ListRetirableGrants, Use::default())?;
        account.check_is_own(&principal)?;
        let page = Page::new(
            call,
            &["ListRetirableGrants", principal.as_str()],
            PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker },
        );
        let after = page.after(|id| Some(GrantId(id.to_owned())))?;
        let grants = account.retirable_grants_page(&principal, after.as_ref(), page.fetch()).await?;
        let (grants, next_marker) = page.cut(grants, |grant| grant.id.0.clone());
        let grants = grants.iter().map(GrantListEntry::of).collect();
        Ok(Response { grants, truncated: next_marker.is_some(), next_marker })
    }
}
