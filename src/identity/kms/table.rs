//! Every identity as a request needs it: policies read, ARNs built, keys found by their id.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::kms::{AccountId, Tag};
use crate::identity::kms::accounts::Accounts;
use crate::identity::kms::caller::{Identity, Principal};
use crate::identity::kms::managed::ManagedPolicies;
use crate::identity::kms::mfa::Device;
use crate::identity::kms::named_policy::{NamedPolicy, Policies};
use crate::identity::kms::record::{AccessKeyRecord, Named, Records, RoleRecord, UserRecord};
use crate::identity::kms::rules::{self, InvalidIdentity};
use crate::identity::kms::service::Service;
use crate::identity::signing_keys::SigningKeys;
use crate::policy::PolicyDocument;
use crate::secret::SecretBytes;

/// What is in force. Built whole, never changed.
#[derive(Default)]
pub(super) struct Table {
    access_keys: HashMap<String, Arc<AccessKey>>,
    roles: HashMap<AccountId, HashMap<String, Arc<Role>>>,
    users: HashMap<AccountId, HashMap<String, Arc<User>>>,
    accounts: Arc<Accounts>,
}

/// A long-term access key.
pub(super) struct AccessKey {
    pub(super) secret: SecretBytes,
    pub(super) active: bool,
    pub(super) signing_keys: SigningKeys,
    pub(super) owner: Owner,
}

/// Whose it is.
pub(super) enum Owner {
    Identity(Box<Identity>),
    Service(Arc<Service>),
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
    pub boundary: Option<Arc<NamedPolicy>>,
    pub tags: Arc<[Tag]>,
    pub max_session_seconds: u32,
}

/// What a user and its access keys and sessions share.
#[derive(Debug)]
pub(super) struct User {
    pub(super) account: AccountId,
    pub(super) arn: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) unique_id: Arc<str>,
    pub(super) policies: Policies,
    pub(super) boundary: Option<Arc<NamedPolicy>>,
    pub(super) tags: Arc<[Tag]>,
    pub(super) mfa_device: Option<Device>,
}

/// What could not be built, and why.
pub(super) type Fault = (String, InvalidIdentity);

impl Table {
    /// What is declared comes before what is stored under the same name.
    pub(super) fn build(declared: &Records, stored: &Records) -> Result<Self, Fault> {
        let managed = ManagedPolicies::read(&declared.policies)?;
        let mut table = Self { accounts: Arc::new(Accounts::read(&declared.accounts)?), ..Self::default() };
        for records in [stored, declared] {
            for (named, record) in &records.users {
                let user =
                    User::new(named, record, &managed).map_err(|error| (place("user", named), error))?;
                table.users.entry(named.0.clone()).or_default().insert(named.1.clone(), Arc::new(user));
            }
            for (named, record) in &records.roles {
                let role =
                    Role::new(named, record, &managed).map_err(|error| (place("role", named), error))?;
                table.roles.entry(named.0.clone()).or_default().insert(named.1.clone(), Arc::new(role));
            }
        }
        for (id, record) in stored.access_keys.iter().chain(&declared.access_keys) {
            let account = rules::check_account(&record.account)
                .map_err(|error| (format!("access key `{id}`"), error))?;
            // A key whose user is gone authenticates nobody.
            if let Some(identity) = table.owner(id, account, record) {
                let owner = Owner::Identity(Box::new(identity));
                let key = AccessKey::new(&record.secret_access_key, record.active, owner);
                table.access_keys.insert(id.clone(), Arc::new(key));
            }
        }
        for (name, record) in &declared.services {
            let service =
                Arc::new(Service { name: Arc::from(name.as_str()), acts_for: record.acts_for.clone() });
            for (id, key) in &record.access_keys {
                let owner = Owner::Service(Arc::clone(&service));
                let key = AccessKey::new(&key.secret_access_key, key.active, owner);
                table.access_keys.insert(id.clone(), Arc::new(key));
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

    pub(super) fn user(&self, account: &AccountId, name: &str) -> Option<&Arc<User>> {
        self.users.get(account)?.get(name)
    }

    pub(super) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    fn owner(&self, id: &str, account: AccountId, record: &AccessKeyRecord) -> Option<Identity> {
        match &record.user {
            None => Some(self.root(id, account)),
            Some(name) => Some(self.identity_of(self.user(&account, name)?, id)),
        }
    }

    /// The root user of an account, with this access key.
    pub(super) fn root(&self, access_key_id: &str, account: AccountId) -> Identity {
        Identity {
            access_key_id: Arc::from(access_key_id),
            principal: Principal::Root,
            arn: Arc::from(format!("arn:aws:iam::{account}:root")),
            user_id: Arc::from(account.as_str()),
            policies: Arc::from([]),
            boundary: None,
            account_policies: self.accounts.policies(&account),
            tags: Arc::from([]),
            temporary: None,
            organizations: self.accounts.organizations(),
            account,
        }
    }

    /// A user, with this access key.
    pub(super) fn identity_of(&self, user: &User, access_key_id: &str) -> Identity {
        Identity {
            account: user.account.clone(),
            access_key_id: Arc::from(access_key_id),
            principal: Principal::User { name: Arc::clone(&user.name) },
            arn: Arc::clone(&user.arn),
            user_id: Arc::clone(&user.unique_id),
            policies: Arc::clone(&user.policies),
            boundary: user.boundary.clone(),
            account_policies: self.accounts.policies(&user.account),
            tags: Arc::clone(&user.tags),
            temporary: None,
            organizations: self.accounts.organizations(),
        }
    }
}

pub(super) fn place(kind: &str, (account, name): &Named) -> String {
    format!("{kind} `{name}` of account {account}")
}

impl AccessKey {
    fn new(secret: &SecretBytes, active: bool, owner: Owner) -> Self {
        Self { secret: secret.clone(), active, signing_keys: SigningKeys::default(), owner }
    }
}

impl User {
    fn new(
        (account, name): &Named,
        record: &UserRecord,
        managed: &ManagedPolicies,
    ) -> Result<Self, InvalidIdentity> {
        rules::check_name(name)?;
        rules::check_path(&record.path)?;
        rules::check_tags(&record.tags)?;
        let device =
            record.mfa_device.as_ref().map(|device| Device::new(mfa_serial(account, name), &device.secret));
        Ok(Self {
            account: account.clone(),
            arn: Arc::from(format!("arn:aws:iam::{account}:user{}{name}", record.path)),
            name: Arc::from(name.as_str()),
            unique_id: Arc::from(record.unique_id.as_str()),
            policies: managed.all_policies(account, (&record.policies, &record.managed_policies))?,
            boundary: managed.boundary(account, record.permissions_boundary.as_deref())?,
            tags: tags(&record.tags),
            mfa_device: device.transpose()?,
        })
    }
}

/// The ARN of the device of a user, which AWS calls its serial number.
pub(super) fn mfa_serial(account: &AccountId, user: &str) -> String {
    format!("arn:aws:iam::{account}:mfa/{user}")
}

impl Role {
    fn new(
        (account, name): &Named,
        record: &RoleRecord,
        managed: &ManagedPolicies,
    ) -> Result<Self, InvalidIdentity> {
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
            policies: managed.all_policies(account, (&record.policies, &record.managed_policies))?,
            boundary: managed.boundary(account, record.permissions_boundary.as_deref())?,
            tags: tags(&record.tags),
            max_session_seconds: record.max_session_duration_seconds,
        })
    }
}

fn tags(tags: &std::collections::BTreeMap<String, String>) -> Arc<[Tag]> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
}
