//! What a caller may do in its account and Region that is not about one existing key.

use crate::authorizer::evaluation::{Denial, Layer};
use crate::authorizer::kms::{Question, Ruling, Service, rule};
use crate::domain::kms::{
    AccountAction, Alias, AliasName, Connection, CustomKeyStoreId, Grant, GrantId, GrantPrincipal, KeyAction,
    KeyId, KeyKind, Scope,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::key_store_refused::{ClusterRefused, KeyStoreRefused};
use crate::gate::kms::{Call, OpenKey, Refused, Use};
use crate::key_manager::HsmError;
use crate::policy::PolicyDocument;
use crate::secret::SecretBytes;
use crate::store::{GrantFilter, GrantQuery};

/// What policies about any key of the account take for one.
const KEY_TO_COME: &str = "key/00000000-0000-0000-0000-000000000000";

/// The caller's account in the Region that is called.
pub struct Account<'a> {
    call: &'a Call<'a>,
    scope: Scope,
}

impl<'a> Account<'a> {
    pub(super) fn new(call: &'a Call<'a>, scope: Scope) -> Self {
        Self { call, scope }
    }

    pub(super) const fn call(&self) -> &'a Call<'a> {
        self.call
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Why this kind of key cannot be made, if it cannot.
    pub fn supports(&self, kind: KeyKind) -> Result<(), String> {
        self.call.kms.backing_keys.supports(kind)
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

    /// AWS KMS Developer Guide, AWS KMS permissions: ListRetirableGrants is asked for principals of the own account. A
    /// service is in none.
    pub fn check_is_own(&self, principal: &GrantPrincipal) -> Result<(), Refused> {
        let is_own = match principal {
            GrantPrincipal::Principal(arn) => arn.split(':').nth(4) == Some(self.scope.account.as_str()),
            GrantPrincipal::Service(_) => true,
        };
        if is_own {
            return Ok(());
        }
        let permission = AccountAction::ListRetirableGrants.required_permission();
        Err(self.call.forbidden(permission.name, None, Denial::implicit(Layer::Resource)))
    }

    /// Grants that the principal may retire, of keys of all accounts.
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

    /// From the cluster of a CloudHSM key store.
    pub async fn random_of_cluster(&self, id: &str, bytes: usize) -> Result<SecretBytes, Refused> {
        let missing = || KeyStoreRefused::Missing { named: id.to_owned() };
        let id = CustomKeyStoreId::parse(id).ok_or_else(missing)?;
        let known = self.custom_key_store(&id).await?;
        let cluster = self.call.kms.cluster_of(&known)?;
        if known.store.connection != Connection::Connected {
            return Err(KeyStoreRefused::ClusterNotConnected.into());
        }
        self.call.kms.key_stores.admit(&known.store, AccountAction::GenerateRandom.as_str())?;
        let random = cluster.random(bytes, self.call.deadline()).await.result;
        random.map_err(|error| {
            if error == HsmError::Busy {
                return KeyStoreRefused::Cluster(ClusterRefused::Use(error)).into();
            }
            // GenerateRandom knows no KMSInvalidStateException: it is about no key.
            Refused::KeyManager(error)
        })
    }
}

impl Call<'_> {
    /// Whether the caller could change this policy by a request like this one once it is in force, on this key or on
    /// one to come (the lock-out safety check).
    pub fn keeps_control(&self, key: Option<&OpenKey<'_>>, policy: &PolicyDocument, next: Use<'_>) -> bool {
        let permission = KeyAction::PutKeyPolicy.required_permission();
        let to_come = || self.caller().scope().arn(KEY_TO_COME);
        let arn = key.map_or_else(to_come, |key| key.arn().to_owned());
        let context = || {
            let conditions = self.conditions(permission, next);
            let conditions = match key {
                Some(key) => conditions.with_key(key.key(), self.quotas().aliases_per_key),
                None => conditions,
            };
            conditions.into_context()
        };
        let question = Question {
            caller: self.caller(),
            facts: self.facts(),
            service: Service::Kms,
            permission: permission.name,
            resource: &arn,
            resource_account: &self.caller().account,
            resource_policy: Some(policy),
        };
        rule(question, context) == Ruling::Allowed
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
        let changes = self.kms.changes(self.announce().await?);
        Ok(to_the_end(changes.create_alias(alias, self.kms.quotas.aliases_per_key)).await?)
    }

    /// Points an alias at an open key.
    pub async fn point_alias(&self, alias: Alias, target: &OpenKey<'_>) -> Result<(), Refused> {
        let before = alias.target.clone();
        let next = Alias { target: target.key().id.clone(), updated: self.now(), ..alias };
        let changes = self.kms.changes(self.announce().await?);
        Ok(to_the_end(changes.point_alias(next, before, self.kms.quotas.aliases_per_key)).await?)
    }

    pub async fn delete_alias(&self, alias: Alias) -> Result<(), Refused> {
        let changes = self.kms.changes(self.announce().await?);
        Ok(to_the_end(changes.delete_alias(alias)).await?)
    }
}
