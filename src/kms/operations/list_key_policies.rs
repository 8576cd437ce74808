//! `ListKeyPolicies`: the names of the key policies: there is one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::key_policy::POLICY_NAME;
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};

const PAGE_LIMITS: PageLimits = PageLimits { usual: 100, max: 1000 };

pub(super) struct ListKeyPolicies;

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
    policy_names: [&'static str; 1],
    truncated: bool,
}

impl<'b> Operation<'b> for ListKeyPolicies {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::ListKeyPolicies, &request.key_id, Use::default()).await?;
        // One page has them all, so nobody has a marker.
        Page::new(
            call,
            &["ListKeyPolicies", key.arn()],
            PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker },
        )
        .refuse_marker()?;
        Ok(Response { policy_names: [POLICY_NAME], truncated: false })
    }
}
