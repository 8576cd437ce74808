//! Who may assume a role: its trust policy, and for strangers their own policies too.

use std::collections::BTreeMap;

use crate::authorizer::facts::{RequestFacts, global_context, with_resource_account};
use crate::authorizer::kms::{Question, Ruling, Service, rule};
use crate::identity::kms::{Caller, Role};
use crate::policy::Context;

/// A request to become a session of a role.
#[derive(Clone, Copy, Debug)]
pub struct Assumption<'a> {
    pub caller: &'a Caller,
    pub facts: &'a RequestFacts<'a>,
    pub role: &'a Role,
    pub session_name: &'a str,
    pub external_id: Option<&'a str>,
    /// Of the request or inherited.
    pub source_identity: Option<&'a str>,
    /// Whether a second factor came with the request.
    pub mfa: bool,
    /// Of the request and inherited.
    pub tags: &'a BTreeMap<String, String>,
    pub transitive_tag_keys: &'a [String],
}

/// The permission that is missing, if one is.
pub fn missing_permission(assumption: Assumption<'_>) -> Option<&'static str> {
    // AWS STS, AssumeRole: the root user of an account cannot.
    if assumption.caller.is_root() {
        return Some(ASSUME_ROLE);
    }
    let tags = !assumption.tags.is_empty();
    let permissions = [
        Some(ASSUME_ROLE),
        tags.then_some(TAG_SESSION),
        assumption.source_identity.map(|_| SET_SOURCE_IDENTITY),
    ];
    permissions.into_iter().flatten().find(|permission| !is_allowed(assumption, permission))
}

const ASSUME_ROLE: &str = "AssumeRole";
const SET_SOURCE_IDENTITY: &str = "SetSourceIdentity";
const TAG_SESSION: &str = "TagSession";

fn is_allowed(assumption: Assumption<'_>, permission: &'static str) -> bool {
    let question = Question {
        caller: assumption.caller,
        facts: assumption.facts,
        service: Service::Sts,
        permission,
        resource: &assumption.role.arn,
        resource_account: &assumption.role.account,
        resource_policy: Some(&assumption.role.trust_policy),
    };
    rule(question, || context(assumption)) == Ruling::Allowed
}

/// Condition keys of AWS STS.
fn context(assumption: Assumption<'_>) -> Context<'_> {
    let factor = assumption.mfa.then_some(("true", "0"));
    let global = global_context(assumption.caller, assumption.facts);
    let mut context = with_resource_account(global, assumption.caller, &assumption.role.account)
        .with_optional("aws:MultiFactorAuthPresent", factor.map(|(present, _)| present))
        .with_optional("aws:MultiFactorAuthAge", factor.map(|(_, age)| age))
        .with_optional("sts:SourceIdentity", assumption.source_identity)
        .with("sts:RoleSessionName", assumption.session_name)
        .with_optional("sts:ExternalId", assumption.external_id);
    for tag in assumption.role.tags.iter() {
        let key = format!("ResourceTag/{}", tag.key);
        context = context
            .with(format!("aws:{key}"), tag.value.as_str())
            .with(format!("iam:{key}"), tag.value.as_str());
    }
    for (key, value) in assumption.tags {
        context =
            context.with(format!("aws:RequestTag/{key}"), value.as_str()).with("aws:TagKeys", key.as_str());
    }
    for key in assumption.transitive_tag_keys {
        context = context.with("sts:TransitiveTagKeys", key.as_str());
    }
    context
}
