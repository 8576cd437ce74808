//! `PutKeyPolicy`: replaces the key policy.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::KeyAction;
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::key_policy;
use crate::kms::key_policy::POLICY_NAME;
use crate::kms::operations::Operation;

pub(super) struct PutKeyPolicy;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow, default)]
    policy_name: Option<Cow<'b, str>>,
    #[serde(borrow)]
    policy: Cow<'b, str>,
    bypass_policy_lockout_safety_check: Option<bool>,
}

impl<'b> Operation<'b> for PutKeyPolicy {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let bypass = request.bypass_policy_lockout_safety_check;
        let condition = key_policy::bypass_condition(bypass);
        let usage = Use { conditions: condition.as_slice(), ..Use::default() };
        let key = call.open(KeyAction::PutKeyPolicy, &request.key_id, usage).await?;
        if request.policy_name.is_some_and(|name| name != POLICY_NAME) {
            return Err(Error::UnsupportedOperation("Only default policy is supported".to_owned()));
        }
        key_policy::check(call, Some(&key), &request.policy, bypass)?;
        key.replace(|key| key.policy = request.policy.as_ref().into()).await?;
        Ok(())
    }
}
