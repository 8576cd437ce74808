//! `GetKeyPolicy`: the key policy, as it was written.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::key_policy::POLICY_NAME;
use crate::kms::operations::Operation;

pub(super) struct GetKeyPolicy;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow, default)]
    policy_name: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    policy: String,
    policy_name: &'static str,
}

impl<'b> Operation<'b> for GetKeyPolicy {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::GetKeyPolicy, &request.key_id, Use::default()).await?;
        if request.policy_name.is_some_and(|name| name != POLICY_NAME) {
            return Err(Error::NotFound("No such policy exists".to_owned()));
        }
        Ok(Response { policy: key.key().policy.to_string(), policy_name: POLICY_NAME })
    }
}
