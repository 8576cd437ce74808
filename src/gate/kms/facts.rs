//! What is known of a request beyond its caller: the condition keys that policies can test.

use crate::authorizer::facts::global_context;
use crate::domain::kms::{EncryptionContext, Key};
use crate::identity::kms::Caller;
use crate::policy::Context;

pub use crate::authorizer::facts::RequestFacts;

/// Condition keys that are the same whatever the resource.
pub(super) fn caller_context<'a>(caller: &'a Caller, facts: &RequestFacts<'a>) -> Context<'a> {
    let via = caller.via.as_ref();
    // A service that calls by itself is of no account.
    let account = caller.service().is_none().then(|| caller.account.as_str());
    global_context(caller, facts)
        .with_optional("kms:CallerAccount", account)
        .with_optional("kms:ViaService", via.map(|via| via.service_in(&caller.region)))
}

/// Condition keys of a key (AWS KMS Developer Guide, AWS KMS condition keys). One that has more aliases than it may
/// has none for a policy (Resource quotas).
pub(super) fn with_key<'a>(context: Context<'a>, key: &'a Key, aliases_max: u64) -> Context<'a> {
    let mut context = context
        .with("aws:ResourceAccount", key.scope.account.as_str())
        .with("kms:KeyOrigin", key.origin.as_str())
        .with("kms:KeySpec", key.spec.as_str())
        .with("kms:KeyUsage", key.usage.as_str())
        .with("kms:MultiRegion", if key.multi_region { "true" } else { "false" });
    for tag in &key.tags {
        context = context.with(format!("aws:ResourceTag/{}", tag.key), tag.value.as_str());
    }
    let is_within = u64::try_from(key.aliases.len()).is_ok_and(|aliases| aliases <= aliases_max);
    for alias in key.aliases.iter().filter(|_| is_within) {
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
