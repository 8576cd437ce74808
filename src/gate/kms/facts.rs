//! What is known of a request beyond its caller: the condition keys that policies can test.

use std::net::IpAddr;

use crate::domain::kms::{EncryptionContext, Key};
use crate::identity::kms::Caller;
use crate::policy::Context;

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    pub source_ip: IpAddr,
    pub secure_transport: bool,
    pub user_agent: Option<&'a str>,
    /// By the wall clock.
    pub unix_seconds: u64,
}

/// Condition keys that are the same whatever the resource (IAM User Guide, AWS global condition context keys).
pub(super) fn global_context<'a>(caller: &'a Caller, facts: &RequestFacts<'a>) -> Context<'a> {
    let time =
        time::OffsetDateTime::from_unix_timestamp(i64::try_from(facts.unix_seconds).unwrap_or(i64::MAX));
    let time = time.ok().and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok());
    let mut context = Context::new()
        .with("aws:PrincipalArn", caller.principal_arn())
        .with("aws:PrincipalAccount", caller.account.as_str())
        .with("aws:PrincipalType", caller.principal_type())
        .with("aws:RequestedRegion", caller.region.as_str())
        .with("aws:SecureTransport", if facts.secure_transport { "true" } else { "false" })
        .with("aws:SourceIp", facts.source_ip.to_string())
        .with("aws:EpochTime", facts.unix_seconds.to_string())
        .with("kms:CallerAccount", caller.account.as_str())
        .with_optional("aws:CurrentTime", time)
        .with_optional("aws:UserAgent", facts.user_agent)
        .with_optional("aws:username", caller.user_name());
    for tag in &caller.tags {
        context = context.with(format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str());
    }
    context
}

/// Condition keys of a key (AWS KMS Developer Guide, AWS KMS condition keys).
pub(super) fn with_key<'a>(context: Context<'a>, key: &'a Key) -> Context<'a> {
    let mut context = context
        .with("aws:ResourceAccount", key.scope.account.as_str())
        .with("kms:KeyOrigin", key.origin.as_str())
        .with("kms:KeySpec", key.spec.as_str())
        .with("kms:KeyUsage", key.usage.as_str())
        .with("kms:MultiRegion", if key.multi_region { "true" } else { "false" });
    for tag in &key.tags {
        context = context.with(format!("aws:ResourceTag/{}", tag.key), tag.value.as_str());
    }
    for alias in &key.aliases {
        context = context.with("kms:ResourceAliases", alias.as_str());
    }
    context
}

/// Condition keys of an encryption context.
pub(super) fn with_encryption_context<'a>(
    mut context: Context<'a>,
    encryption_context: &'a EncryptionContext,
) -> Context<'a> {
    for (key, value) in encryption_context.pairs() {
        context = context
            .with(format!("kms:EncryptionContext:{key}"), value)
            .with("kms:EncryptionContextKeys", key);
    }
    context
}
