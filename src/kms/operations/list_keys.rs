//! `ListKeys`: ids and ARNs of all keys of the account and Region.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{AccountAction, KeyId};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};

const PAGE_LIMITS: PageLimits = PageLimits { usual: 100, max: 1000 };

pub(super) struct ListKeys;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    limit: Option<usize>,
    #[serde(borrow, default)]
    marker: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    resource_owners: Option<Vec<Cow<'b, str>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    keys: Vec<KeyListEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl<'b> Operation<'b> for ListKeys {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let account = call.account(AccountAction::ListKeys, Use::default())?;
        let owners = request.resource_owners.unwrap_or_default().join(",");
        let page = Page::new(
            call,
            &["ListKeys", &owners],
            PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker },
        );
        let after = page.after(KeyId::parse)?;
        let ids = account.keys_page(after.as_ref(), page.fetch()).await?;
        let (ids, next_marker) = page.cut(ids, |id| id.to_string());
        let entry = |id: KeyId| KeyListEntry {
            key_arn: account.scope().arn(&format!("key/{id}")),
            key_id: id.to_string(),
        };
        let keys = ids.into_iter().map(entry).collect();
        Ok(Response { keys, truncated: next_marker.is_some(), next_marker })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeyListEntry {
    key_id: String,
    key_arn: String,
}
