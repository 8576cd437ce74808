//! What holds for everybody in an account: its organization and its service control policies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::kms::AccountId;
use crate::identity::kms::named_policy::Policies;
use crate::identity::kms::organization::Organizations;
use crate::identity::kms::record::AccountRecord;
use crate::identity::kms::rules::{self, InvalidIdentity};

#[derive(Debug, Default)]
pub(super) struct Accounts {
    organizations: Organizations,
    service_control_policies: HashMap<AccountId, Policies>,
}

impl Accounts {
    pub(super) fn read(
        records: &BTreeMap<AccountId, AccountRecord>,
    ) -> Result<Self, (String, InvalidIdentity)> {
        let mut accounts = Self::default();
        let mut organizations = HashMap::new();
        for (id, record) in records {
            let policies = rules::identity_policies(&record.service_control_policies)
                .map_err(|error| (format!("account `{id}`"), error))?;
            accounts.service_control_policies.insert(id.clone(), policies.into());
            organizations.extend(record.organization.clone().map(|organization| (id.clone(), organization)));
        }
        accounts.organizations = Arc::new(organizations);
        Ok(accounts)
    }

    pub(super) fn organizations(&self) -> Organizations {
        Arc::clone(&self.organizations)
    }

    pub(super) fn policies(&self, account: &AccountId) -> Policies {
        self.service_control_policies.get(account).cloned().unwrap_or_else(|| Arc::from([]))
    }
}
