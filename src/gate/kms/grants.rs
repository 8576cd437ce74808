//! The grants of an open key: made, listed, ended.

use crate::domain::kms::{Grant, GrantConstraints, GrantId, GrantOperation, GrantPrincipal, MaterialId};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::material::random;
use crate::gate::kms::{OpenKey, Refused};
use crate::store::{GrantFilter, GrantQuery, StoreError};

/// Grants that are compared in one go.
const PAGE: usize = 1000;

/// What a grant is made from.
#[derive(Clone, Debug)]
pub struct NewGrant {
    pub name: Option<String>,
    pub issuing_account: String,
    pub grantee: GrantPrincipal,
    pub retiring: Option<GrantPrincipal>,
    pub operations: Vec<GrantOperation>,
    pub constraints: GrantConstraints,
}

impl OpenKey<'_> {
    /// Adds a grant, or finds the one of the same name and content.
    pub async fn create_grant(&self, new: NewGrant) -> Result<GrantId, Refused> {
        let kms = self.call().kms;
        let grant = Grant {
            scope: self.key().scope.clone(),
            key_id: self.key().id.clone(),
            id: GrantId(MaterialId::new(random()?).to_string()),
            name: new.name,
            created: self.call().now(),
            issuing_account: new.issuing_account,
            grantee: new.grantee,
            retiring: new.retiring,
            operations: new.operations,
            constraints: new.constraints,
        };
        let changes = kms.changes(self.call().announce().await?);
        Ok(to_the_end(changes.create_grant(grant, kms.quotas.grants_per_key)).await?)
    }

    /// Fails as [`Self::create_grant`] would, and does nothing.
    pub async fn rehearse_grant(&self, new: &NewGrant) -> Result<(), Refused> {
        let kms = self.call().kms;
        let grants = kms.ask_grants(self.key(), |grants| u64::try_from(grants.len())).await?;
        let is_full = grants.is_ok_and(|grants| grants >= kms.quotas.grants_per_key);
        if is_full && !self.has_same_grant(new).await? {
            return Err(StoreError::LimitExceeded.into());
        }
        Ok(())
    }

    /// Whether there is a grant of the same name and content.
    async fn has_same_grant(&self, new: &NewGrant) -> Result<bool, Refused> {
        let Some(name) = &new.name else { return Ok(false) };
        let sorted = |operations: &[GrantOperation]| {
            let mut operations = operations.to_vec();
            operations.sort_unstable();
            operations.dedup();
            operations
        };
        let is_same = |grant: &Grant| {
            grant.name.as_ref() == Some(name)
                && grant.retiring == new.retiring
                && grant.constraints == new.constraints
                && sorted(&grant.operations) == sorted(&new.operations)
        };
        let mut after = None;
        loop {
            let grants = self.grants_page(Some(&new.grantee), after.as_ref(), PAGE).await?;
            if grants.iter().any(is_same) {
                return Ok(true);
            }
            if grants.len() < PAGE {
                return Ok(false);
            }
            after = grants.last().map(|grant| grant.id.clone());
        }
    }

    pub async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Refused> {
        Ok(self.call().kms.store.grant(&self.key().scope, &self.key().id, id).await?)
    }

    pub async fn delete_grant(&self, id: &GrantId) -> Result<(), Refused> {
        let changes = self.call().kms.changes(self.call().announce().await?);
        let key = (self.key().scope.clone(), self.key().id.clone());
        Ok(to_the_end(changes.delete_grant(key, id.clone())).await?)
    }

    /// Grants of this key, in the order of their ids.
    pub async fn grants_page(
        &self,
        grantee: Option<&GrantPrincipal>,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<Grant>, Refused> {
        let filter = GrantFilter::OfKey { key_id: &self.key().id, grantee };
        let query = GrantQuery { scope: &self.key().scope, filter, after };
        Ok(self.call().kms.store.grants_page(query, limit).await?)
    }
}
