//! `ListResourceTags`: the tags of a key.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{KeyAction, Tag};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};
use crate::kms::tags::TagEntry;

const PAGE_LIMITS: PageLimits = PageLimits { usual: 50, max: 50 };

pub(super) struct ListResourceTags;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    limit: Option<usize>,
    #[serde(borrow, default)]
    marker: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    tags: Vec<TagEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl<'b> Operation<'b> for ListResourceTags {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::ListResourceTags, &request.key_id, Use::default()).await?;
        let page = Page::new(
            call,
            &["ListResourceTags", key.arn()],
            PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker },
        );
        let after = page.after(|key| Some(key.to_owned()))?.unwrap_or_default();
        let tags = key.key().tags.iter().filter(|tag| tag.key > after).take(page.fetch()).cloned().collect();
        let (tags, next_marker) = page.cut(tags, |tag: &Tag| tag.key.clone());
        let tags = tags.into_iter().map(TagEntry::from).collect();
        Ok(Response { tags, truncated: next_marker.is_some(), next_marker })
    }
}
