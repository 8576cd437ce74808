//! Key policies: the one that is given by default, and what is demanded of another.

use std::borrow::Cow;

use crate::domain::kms::Scope;
use crate::gate::kms::{Call, OpenKey, Use};
use crate::kms::error::Error;
use crate::policy::{POLICY_BYTES_MAX, PolicyDocument};

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
    let policy =
        PolicyDocument::parse(text).map_err(|error| Error::MalformedPolicyDocument(error.to_string()))?;
    if let Some(text) = policy.keys_for_all_values().find_map(overly_permissive) {
        return Err(Error::MalformedPolicyDocument(text));
    }
    if !policy.has_version() {
        return Err(Error::MalformedPolicyDocument("`Version` is missing".to_owned()));
    }
    if let Some(number) = policy.statement_without_principal() {
        return Err(Error::MalformedPolicyDocument(format!("statement {number} has no `Principal`")));
    }
    let condition = bypass_condition(bypass);
    let next = Use { conditions: condition.as_slice(), ..Use::default() };
    if bypass != Some(true) && !call.keeps_control(key, &policy.for_a_key(), next) {
        let text = "The new key policy will not allow you to update the key policy in the future.";
        return Err(Error::MalformedPolicyDocument(text.to_owned()));
    }
    Ok(())
}

/// AWS KMS Developer Guide, Using the ForAllValues set operator: not with keys that have one value.
fn overly_permissive(key: &str) -> Option<String> {
    let starts_with =
        |prefix: &str| key.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let (error, what) = if starts_with("kms:EncryptionContext:") {
        ("OverlyPermissiveCondition:EncryptionContext", "encryption context")
    } else if starts_with("aws:RequestTag/") {
        ("OverlyPermissiveCondition", "tag")
    } else {
        return None;
    };
    Some(format!(
        "{error}: Using the ForAllValues set operator with a single-valued condition key matches requests without the \
         specified {what} or with an unspecified {what}. To fix, remove ForAllValues."
    ))
}

/// The condition key of CreateKey and PutKeyPolicy; absent if the request does not say it.
pub(super) fn bypass_condition(bypass: Option<bool>) -> Option<(Cow<'static, str>, Cow<'static, str>)> {
    let value = if bypass? { "true" } else { "false" };
    Some(("kms:BypassPolicyLockoutSafetyCheck".into(), value.into()))
}
