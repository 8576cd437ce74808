//! What is known of a request beyond its caller: the condition keys that policies can test.

use std::borrow::Cow;

use crate::attestation::Attestation;
use crate::authorizer::facts::{global_context, with_resource_account};
use crate::domain::kms::{AccountId, AliasName, ConditionKey, EncryptionContext, Key, Permission, TestedBy};
use crate::gate::kms::Use;
use crate::identity::kms::Caller;
use crate::policy::Context;

pub use crate::authorizer::facts::RequestFacts;

/// The condition keys of a request for one permission: only those that the permissions reference has for it.
pub(super) struct Conditions<'a> {
    permission: Permission,
    caller: &'a Caller,
    context: Context<'a>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(permission: Permission, caller: &'a Caller, facts: &RequestFacts<'a>) -> Self {
        let conditions = Self { permission, caller, context: global_context(caller, facts) };
        let is_for_resource = text_of(caller.via.is_some());
        let conditions = conditions.with(ConditionKey::GrantIsForAwsResource, is_for_resource);
        // A service that calls by itself is of no account.
        let conditions = match caller.service() {
            None => conditions.with(ConditionKey::CallerAccount, caller.account.as_str()),
            Some(_) => conditions,
        };
        match &caller.via {
            Some(via) => conditions.with(ConditionKey::ViaService, via.service_in(&caller.region)),
            None => conditions,
        }
    }

    /// A value of a key, if requests for this permission can have it.
    fn with(self, key: ConditionKey, value: impl Into<Cow<'a, str>>) -> Self {
        self.with_name(key, key.as_str(), value)
    }

    /// A value of one key of a family, if requests for this permission can have it.
    fn with_member(self, family: ConditionKey, member: &str, value: impl Into<Cow<'a, str>>) -> Self {
        if !self.permission.has(family) {
            return self;
        }
        self.with_name(family, format!("{family}{member}"), value)
    }

    fn with_name(
        mut self,
        key: ConditionKey,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
    ) -> Self {
        if self.permission.has(key) {
            self.context = match key.tested_by() {
                TestedBy::AnyPolicy => self.context.with(name, value),
                TestedBy::IdentityPolicies => self.context.with_for_identities(name, value),
            };
        }
        self
    }

    /// What the request says by its parameters.
    pub(super) fn with_use(mut self, usage: Use<'a>) -> Self {
        for (key, value) in usage.encryption_context.into_iter().flat_map(EncryptionContext::pairs) {
            self = self
                .with_member(ConditionKey::EncryptionContext, key, value)
                .with(ConditionKey::EncryptionContextKeys, key);
        }
        if let Some(attestation) = usage.attestation {
            self = self.with_attestation(attestation);
        }
        for (name, value) in usage.conditions {
            if self.permission.condition_keys().any(|key| key.covers(name)) {
                self.context = self.context.with(&**name, &**value);
            }
        }
        self
    }

    /// What a verified document says of the enclave. The register of index 0 is the digest of its image.
    fn with_attestation(mut self, attestation: &'a Attestation) -> Self {
        const FAMILY: ConditionKey = ConditionKey::RecipientAttestation;
        if let Some(digest) = attestation.pcr(0) {
            self = self.with_member(FAMILY, "ImageSha384", digest);
        }
        attestation.pcrs().fold(self, |conditions, (index, value)| {
            conditions.with_member(FAMILY, &format!("PCR{index}"), value)
        })
    }

    /// Whose the resource is.
    pub(super) fn with_resource_of(mut self, account: &'a AccountId) -> Self {
        self.context = with_resource_account(self.context, self.caller, account);
        self
    }

    /// What the key is. Of one that has more aliases than it may, policies see none (Resource quotas).
    pub(super) fn with_key(self, key: &'a Key, aliases_max: u64) -> Self {
        let mut conditions = self
            .with_resource_of(&key.scope.account)
            .with(ConditionKey::CustomerMasterKeySpec, key.spec.as_str())
            .with(ConditionKey::CustomerMasterKeyUsage, key.usage.as_str())
            .with(ConditionKey::KeyOrigin, key.origin.as_str())
            .with(ConditionKey::KeySpec, key.spec.as_str())
            .with(ConditionKey::KeyUsage, key.usage.as_str())
            .with(ConditionKey::MultiRegion, text_of(key.multi_region.is_some()));
        if let Some(kind) = key.multi_region {
            conditions = conditions.with(ConditionKey::MultiRegionKeyType, kind.as_str());
        }
        for tag in &key.tags {
            conditions = conditions.with_member(ConditionKey::ResourceTag, &tag.key, tag.value.as_str());
        }
        let is_within = u64::try_from(key.aliases.len()).is_ok_and(|aliases| aliases <= aliases_max);
        key.aliases.iter().filter(|_| is_within).fold(conditions, |conditions, alias| {
            conditions.with(ConditionKey::ResourceAliases, alias.as_str())
        })
    }

    /// The alias by which the request names the key.
    pub(super) fn with_request_alias(self, alias: Option<&'a AliasName>) -> Self {
        match alias {
            Some(alias) => self.with(ConditionKey::RequestAlias, alias.as_str()),
            None => self,
        }
    }

    pub(super) fn into_context(self) -> Context<'a> {
        self.context
    }
}

const fn text_of(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
