//! What a caller may do in its account and Region that is not about one existing key.

use std::sync::Arc;

use crate::authorizer::kms::{Question, Ruling, Service, rule};
use crate::domain::kms::{
    Alias, AliasName, Grant, GrantId, GrantPrincipal, Key, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage,
    Origin, Scope, Tag,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::material::random;
use crate::gate::kms::{Call, OpenKey, Refused};
use crate::policy::{Context, PolicyDocument};
use crate::secret::SecretBytes;
use crate::store::{GrantFilter, GrantQuery};

/// The caller's account in the Region that is called.
pub struct Account<'a> {
    call: &'a Call<'a>,
    scope: Scope,
}

/// What a key is made from.
#[derive(Debug)]
pub struct NewKey {
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub multi_region: bool,
    pub policy: Arc<str>,
    pub tags: Vec<Tag>,
}

impl<'a> Account<'a> {
    pub(super) fn new(call: &'a Call<'a>, scope: Scope) -> Self {
        Self { call, scope }
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Why this kind of key cannot be made, if it cannot.
    pub fn supports(&self, spec: KeySpec) -> Result<(), String> {
        self.call.kms.backing_keys.supports(spec)
    }

    /// Makes the material in the HSM, and then the key in one transaction: it is there whole, or not at all.
    pub async fn create_key(&self, new: NewKey) -> Result<Arc<Key>, Refused> {
        let kms = self.call.kms;
        let now = self.call.now();
        let mut key = Key {
            scope: self.scope.clone(),
            id: KeyId::from_random(random()?, new.multi_region),
            revision: 1,
            created: now,
            description: new.description,
            spec: new.spec,
            usage: new.usage,
            origin: new.origin,
            place: KeyPlace::Default,
            multi_region: new.multi_region,
            state: KeyState::Enabled,
            deletion: None,
            rotation: None,
            policy: new.policy,
            tags: new.tags,
            aliases: Vec::new(),
            materials: Vec::new(),
        };
        match new.origin {
            Origin::AwsKms => {
                key.materials.push(kms.new_material(key.spec, now, self.call.deadline()).await?)
            }
            Origin::AwsCloudHsm | Origin::External | Origin::ExternalKeyStore => {
                key.state = KeyState::PendingImport;
            }
        }
        let key = Arc::new(key);
        kms.store.create_key(Arc::clone(&key), kms.quotas.keys).await?;
        Ok(key)
    }

    pub async fn keys_page(&self, after: Option<&KeyId>, limit: usize) -> Result<Vec<KeyId>, Refused> {
        Ok(self.call.kms.store.keys_page(&self.scope, after, limit).await?)
    }

    /// Of one key, or all.
    pub async fn aliases_page(
        &self,
        key_id: Option<&KeyId>,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Vec<Alias>, Refused> {
        Ok(self.call.kms.store.aliases_page(&self.scope, key_id, after, limit).await?)
    }

    /// Grants that the principal may retire.
    pub async fn retirable_grants_page(
        &self,
        principal: &GrantPrincipal,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<Grant>, Refused> {
        let filter = GrantFilter::RetirableBy(principal);
        Ok(self.call.kms.store.grants_page(GrantQuery { scope: &self.scope, filter, after }, limit).await?)
    }

    pub async fn random(&self, bytes: usize) -> Result<SecretBytes, Refused> {
        Ok(self.call.kms.backing_keys.random(bytes, self.call.deadline()).await.result?)
    }
}

impl Call<'_> {
    /// Whether the caller could change this policy again once it is in force (the lock-out safety check).
    pub fn keeps_control(&self, policy: &PolicyDocument) -> bool {
        let question = Question {
            caller: self.caller(),
            service: Service::Kms,
            permission: "PutKeyPolicy",
            resource: "*",
            resource_account: &self.caller().account,
            resource_policy: Some(policy),
        };
        rule(question, Context::new) == Ruling::Allowed
    }

    /// The alias, if there is one.
    pub async fn alias(&self, name: &AliasName) -> Result<Option<Alias>, Refused> {
        Ok(self.kms.store.alias(&self.caller().scope(), name).await?)
    }

    /// Makes an alias of an open key.
    pub async fn create_alias(&self, name: AliasName, target: &OpenKey<'_>) -> Result<(), Refused> {
        let key = target.key();
        let alias = Alias {
            scope: key.scope.clone(),
            name,
            target: key.id.clone(),
            created: self.now(),
            updated: self.now(),
        };
        Ok(to_the_end(self.kms.changes().create_alias(alias, self.kms.quotas.aliases_per_key)).await?)
    }

    /// Points an alias at an open key.
    pub async fn point_alias(&self, alias: Alias, target: &OpenKey<'_>) -> Result<(), Refused> {
        let before = alias.target.clone();
        let next = Alias { target: target.key().id.clone(), updated: self.now(), ..alias };
        Ok(to_the_end(self.kms.changes().point_alias(next, before, self.kms.quotas.aliases_per_key)).await?)
    }

    pub async fn delete_alias(&self, alias: Alias) -> Result<(), Refused> {
        Ok(to_the_end(self.kms.changes().delete_alias(alias)).await?)
    }
}
