//! Identities of both origins as administrators see them.

use crate::domain::kms::AccountId;
use crate::identity::kms::administration::{AdminError, HolderKind, Shown, ShownAccessKey};
use crate::identity::kms::record::{AccessKeyRecord, Named, Records, RoleRecord, UserRecord};
use crate::identity::kms::rules;
use crate::identity::kms::table::mfa_serial;

/// What is declared hides what is stored under the same name.
pub(super) struct Both<'a> {
    pub(super) declared: &'a Records,
    pub(super) stored: &'a Records,
}

impl<'a> Both<'a> {
    pub(super) fn identities(&self, account: Option<&str>, kind: HolderKind) -> Vec<Shown> {
        let is_meant = |named: &&Named| account.is_none_or(|account| named.0.as_str() == account);
        let names: std::collections::BTreeSet<&Named> = match kind {
            HolderKind::Role => self.declared.roles.keys().chain(self.stored.roles.keys()).collect(),
            HolderKind::User => self.declared.users.keys().chain(self.stored.users.keys()).collect(),
        };
        names.into_iter().filter(is_meant).filter_map(|named| self.identity(named, kind).ok()).collect()
    }

    pub(super) fn identity(&self, named: &Named, kind: HolderKind) -> Result<Shown, AdminError> {
        let shown = match kind {
            HolderKind::Role => {
                let (record, declared) = find(named, &self.declared.roles, &self.stored.roles)?;
                Shown {
                    arn: format!("arn:aws:iam::{}:role{}{}", named.0, record.path, named.1),
                    unique_id: record.unique_id.clone(),
                    created_unix_seconds: record.created_unix_seconds,
                    declared,
                    tags: record.tags.clone(),
                    policies: record.policies.clone(),
                    managed_policies: record.managed_policies.clone(),
                    permissions_boundary: record.permissions_boundary.clone(),
                    mfa_device: None,
                    trust_policy: Some(record.trust_policy.clone()),
                    max_session_duration_seconds: Some(record.max_session_duration_seconds),
                }
            }
            HolderKind::User => {
                let (record, declared) = find(named, &self.declared.users, &self.stored.users)?;
                Shown {
                    arn: format!("arn:aws:iam::{}:user{}{}", named.0, record.path, named.1),
                    unique_id: record.unique_id.clone(),
                    created_unix_seconds: record.created_unix_seconds,
                    declared,
                    tags: record.tags.clone(),
                    policies: record.policies.clone(),
                    managed_policies: record.managed_policies.clone(),
                    permissions_boundary: record.permissions_boundary.clone(),
                    mfa_device: record.mfa_device.as_ref().map(|_| mfa_serial(&named.0, &named.1)),
                    trust_policy: None,
                    max_session_duration_seconds: None,
                }
            }
        };
        Ok(shown)
    }

    pub(super) fn access_keys(&self, account: Option<&str>) -> Vec<ShownAccessKey> {
        let of = |records: &Records, declared: bool| {
            let is_meant =
                |record: &&AccessKeyRecord| account.is_none_or(|account| record.account == account);
            let keys = records.access_keys.iter().filter(|(_, record)| is_meant(record));
            let shown = keys.map(|(id, record)| ShownAccessKey {
                access_key_id: id.clone(),
                account: record.account.clone(),
                user: record.user.clone(),
                active: record.active,
                created_unix_seconds: record.created_unix_seconds,
                declared,
            });
            shown.collect::<Vec<_>>()
        };
        [of(self.declared, true), of(self.stored, false)].concat()
    }

    pub(super) fn stored_user(&self, named: &Named) -> Result<&'a UserRecord, AdminError> {
        own(find(named, &self.declared.users, &self.stored.users)?)
    }

    pub(super) fn stored_role(&self, named: &Named) -> Result<&'a RoleRecord, AdminError> {
        own(find(named, &self.declared.roles, &self.stored.roles)?)
    }

    pub(super) fn stored_access_key(
        &self,
        id: &String,
    ) -> Result<(AccountId, &'a AccessKeyRecord), AdminError> {
        let record = own(find(id, &self.declared.access_keys, &self.stored.access_keys)?)?;
        Ok((rules::check_account(&record.account)?, record))
    }
}

/// The record, and whether it is declared.
fn find<'r, K: Ord, V>(
    key: &K,
    declared: &'r std::collections::BTreeMap<K, V>,
    stored: &'r std::collections::BTreeMap<K, V>,
) -> Result<(&'r V, bool), AdminError> {
    let declared = declared.get(key).map(|record| (record, true));
    declared.or_else(|| stored.get(key).map(|record| (record, false))).ok_or(AdminError::Missing)
}

fn own<V>((record, declared): (V, bool)) -> Result<V, AdminError> {
    if declared { Err(AdminError::Declared) } else { Ok(record) }
}
