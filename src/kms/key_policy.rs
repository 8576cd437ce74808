//! Key policies: the one that is given by default, and what is demanded of another.

use std::borrow::Cow;

use crate::domain::kms::Scope;
use crate::gate::kms::{Call, OpenKey, Use};
use crate::kms::error::Error;
use crate::policy::{Kind, POLICY_BYTES_MAX};

/// The name of the only key policy.
pub(super) const POLICY_NAME: &str = "default";

/// What CreateKey gives a key without a policy (AWS KMS Developer Guide, Default key policy).
pub(super) fn default_policy(scope: &Scope) -> String {
    let partition = scope.region.partition();
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {{
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:{partition}:iam::{}:root"
    }},
    "Action" : "kms:*",
    "Resource" : "*"
  }} ]
}}"#,
        scope.account
    )
}

/// Whether a policy can be put on a key, or on one to come, by this caller.
pub(super) fn check(
    call: &Call<'_>,
    key: Option<&OpenKey<'_>>,
    text: &str,
    bypass: Option<bool>,
) -> Result<(), Error> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(Error::LimitExceeded(format!("The key policy is larger than {POLICY_BYTES_MAX} bytes.")));
    }
    let policy = Kind::Key.read(text).map_err(Error::MalformedPolicyDocument)?;
    let condition = bypass_condition(bypass);
    let next = Use { conditions: condition.as_slice(), ..Use::default() };
    if bypass != Some(true) && !call.keeps_control(key, &policy.for_a_key(), next) {
        let text = "The new key policy will not allow you to update the key policy in the future.";
        return Err(Error::MalformedPolicyDocument(text.to_owned()));
    }
    Ok(())
}

/// The condition key of CreateKey and PutKeyPolicy; absent if the request does not say it.
pub(super) fn bypass_condition(bypass: Option<bool>) -> Option<(Cow<'static, str>, Cow<'static, str>)> {
    let value = if bypass? { "true" } else { "false" };
    Some(("kms:BypassPolicyLockoutSafetyCheck".into(), value.into()))
}
