//! Every identity as a request needs it: policies read, ARNs built, keys found by their id.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::kms::{AccountId, Tag};
use crate::identity::kms::caller::{Identity, Principal};
use crate::identity::kms::named_policy::Policies;
use crate::identity::kms::organization::Organizations;
use crate::identity::kms::record::{AccessKeyRecord, Named, Records, RoleRecord, UserRecord};
use crate::identity::kms::rules::{self, InvalidIdentity};
use crate::identity::signing_keys::SigningKeys;
use crate::policy::PolicyDocument;
use crate::secret::SecretBytes;

/// What is in force. Built whole, never changed.
#[derive(Default)]
pub(super) struct Table {
    access_keys: HashMap<String, Arc<AccessKey>>,
    roles: HashMap<AccountId, HashMap<String, Arc<Role>>>,
}

/// A long-term access key.
pub(super) struct AccessKey {
    pub(super) secret: SecretBytes,
    pub(super) active: bool,
    pub(super) signing_keys: SigningKeys,
    pub(super) identity: Identity,
}

/// A role that can be assumed.
#[derive(Debug)]
pub struct Role {
    pub account: AccountId,
    pub name: Arc<str>,
    pub arn: Arc<str>,
    /// `AROA…`: another one after the role was deleted and made anew.
    pub unique_id: Arc<str>,
    pub trust_policy: PolicyDocument,
    pub policies: Policies,
    pub tags: Arc<[Tag]>,
    pub max_session_seconds: u32,
}

/// What a user and its access keys share.
struct User {
    arn: Arc<str>,
    name: Arc<str>,
    unique_id: Arc<str>,
    policies: Policies,
    tags: Arc<[Tag]>,
}

/// What could not be built, and why.
pub(super) type Fault = (String, InvalidIdentity);

impl Table {
    /// What is declared comes before what is stored under the same name.
    pub(super) fn build(declared: &Records, stored: &Records) -> Result<Self, Fault> {
        let mut users = HashMap::new();
        let mut table = Self::default();
        for records in [stored, declared] {
            for (named, record) in &records.users {
                let user = User::new(named, record).map_err(|error| (place("user", named), error))?;
                users.insert(named.clone(), user);
            }
            for (named, record) in &records.roles {
                let role = Role::new(named, record).map_err(|error| (place("role", named), error))?;
                table.roles.entry(named.0.clone()).or_default().insert(named.1.clone(), Arc::new(role));
            }
        }
        for (id, record) in stored.access_keys.iter().chain(&declared.access_keys) {
            let account = rules::check_account(&record.account)
                .map_err(|error| (format!("access key `{id}`"), error))?;
            // A key whose user is gone authenticates nobody.
            if let Some(identity) = identity(id, account, record, &users) {
                table.access_keys.insert(id.clone(), Arc::new(AccessKey::new(record, identity)));
            }
        }
        Ok(table)
    }

    pub(super) fn access_key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.access_keys.get(id)
    }

    pub(super) fn role(&self, account: &AccountId, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(account)?.get(name)
    }
}

pub(super) fn place(kind: &str, (account, name): &Named) -> String {
    format!("{kind} `{name}` of account {account}")
}

impl AccessKey {
    fn new(record: &AccessKeyRecord, identity: Identity) -> Self {
        Self {
            secret: record.secret_access_key.clone(),
            active: record.active,
            signing_keys: SigningKeys::default(),
            identity,
        }
    }
}

fn identity(
    id: &str,
    account: AccountId,
    record: &AccessKeyRecord,
    users: &HashMap<Named, User>,
) -> Option<Identity> {
    let access_key_id = Arc::from(id);
    let Some(name) = &record.user else {
        return Some(Identity {
            access_key_id,
            principal: Principal::Root,
            arn: Arc::from(format!("arn:aws:iam::{account}:root")),
            user_id: Arc::from(account.as_str()),
            policies: Arc::from([]),
            boundary: None,
            account_policies: Arc::from([]),
            tags: Arc::from([]),
            temporary: None,
            organizations: Organizations::default(),
            account,
        });
    };
    let user = users.get(&(account.clone(), name.clone()))?;
    Some(Identity {
        account,
        access_key_id,
        principal: Principal::User { name: Arc::clone(&user.name) },
        arn: Arc::clone(&user.arn),
        user_id: Arc::clone(&user.unique_id),
        policies: Arc::clone(&user.policies),
        boundary: None,
        account_policies: Arc::from([]),
        tags: Arc::clone(&user.tags),
        temporary: None,
        organizations: Organizations::default(),
    })
}

impl User {
    fn new((account, name): &Named, record: &UserRecord) -> Result<Self, InvalidIdentity> {
        rules::check_name(name)?;
        rules::check_path(&record.path)?;
        rules::check_tags(&record.tags)?;
        Ok(Self {
            arn: Arc::from(format!("arn:aws:iam::{account}:user{}{name}", record.path)),
            name: Arc::from(name.as_str()),
            unique_id: Arc::from(record.unique_id.as_str()),
            policies: rules::identity_policies(&record.policies)?,
            tags: tags(&record.tags),
        })
    }
}

impl Role {
    fn new((account, name): &Named, record: &RoleRecord) -> Result<Self, InvalidIdentity> {
        rules::check_name(name)?;
        rules::check_path(&record.path)?;
        rules::check_tags(&record.tags)?;
        rules::check_max_session(record.max_session_duration_seconds)?;
        Ok(Self {
            account: account.clone(),
            name: Arc::from(name.as_str()),
            arn: Arc::from(format!("arn:aws:iam::{account}:role{}{name}", record.path)),
            unique_id: Arc::from(record.unique_id.as_str()),
            trust_policy: rules::trust_policy(&record.trust_policy)?,
            policies: rules::identity_policies(&record.policies)?,
            tags: tags(&record.tags),
            max_session_seconds: record.max_session_duration_seconds,
        })
    }
}

fn tags(tags: &std::collections::BTreeMap<String, String>) -> Arc<[Tag]> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
}
