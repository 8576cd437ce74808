//! `ListAliases`: the aliases of the account and Region, or of one key.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{AccountAction, Alias, AliasName, KeyAction, UnixMillis};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};

const PAGE_LIMITS: PageLimits = PageLimits { usual: 50, max: 100 };

pub(super) struct ListAliases;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow, default)]
    key_id: Option<Cow<'b, str>>,
    limit: Option<usize>,
    #[serde(borrow, default)]
    marker: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    aliases: Vec<AliasListEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl<'b> Operation<'b> for ListAliases {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let account = call.account(AccountAction::ListAliases, Use::default())?;
        let key_id = match &request.key_id {
            Some(key_id) => Some(call.own_key_id(KeyAction::ListAliases, key_id).await?),
            None => None,
        };
        let of_key = key_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let page = Page::new(
            call,
            &["ListAliases", &of_key],
            PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker },
        );
        let after = page.after(AliasName::parse)?;
        let aliases = account.aliases_page(key_id.as_ref(), after.as_ref(), page.fetch()).await?;
        let (aliases, next_marker) = page.cut(aliases, |alias| alias.name.to_string());
        let aliases = aliases.iter().map(AliasListEntry::of).collect();
        Ok(Response { aliases, truncated: next_marker.is_some(), next_marker })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AliasListEntry {
    alias_name: String,
    alias_arn: String,
    target_key_id: String,
    creation_date: UnixMillis,
    last_updated_date: UnixMillis,
}

impl AliasListEntry {
    fn of(alias: &Alias) -> Self {
        Self {
            alias_name: alias.name.to_string(),
            alias_arn: alias.arn(),
            target_key_id: alias.target.to_string(),
            creation_date: alias.created,
            last_updated_date: alias.updated,
        }
    }
}
