//! Identities that a file declares, and the files to watch for changes of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::identities::{
    self, DeclaredAccessKey, DeclaredAccount, DeclaredPolicy, DeclaredRole, DeclaredService, DeclaredUser,
    IdentitiesFile, IdentitiesFileError,
};
use crate::domain::kms::AccountId;
use crate::identity::kms::managed::ADMINISTRATOR_ACCESS;
use crate::identity::kms::organization::Organization;
use crate::identity::kms::record::{
    AccessKeyRecord, AccountRecord, MfaDeviceRecord, Named, Records, RoleRecord, ServiceKeyRecord,
    ServiceRecord, UserRecord,
};
use crate::identity::kms::rules::{self, InvalidIdentity};
use crate::identity::kms::table::Table;
use crate::secret::SecretBytes;

/// The user that an `[[account]]` table makes.
const ADMINISTRATOR: &str = "admin";

/// What a file declares, read and found valid.
#[derive(Debug, Default)]
pub struct Declared {
    pub(super) records: Records,
    files: Vec<PathBuf>,
}

/// Why the identities of a file are not taken.
#[derive(Debug)]
pub enum DeclaredError {
    File(IdentitiesFileError),
    /// The file, the table in it, and the rule it breaks.
    Invalid(PathBuf, String, InvalidIdentity),
}

impl fmt::Display for DeclaredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Invalid(path, table, error) => write!(f, "{}: {table}: {error}", path.display()),
        }
    }
}

impl std::error::Error for DeclaredError {}

impl Declared {
    /// Reads the identities file at `path` and every policy file that it names.
    pub fn load(path: &Path) -> Result<Self, DeclaredError> {
        let file = identities::read(path).map_err(DeclaredError::File)?;
        let (path, files) = (file.path.clone(), file.files.clone());
        Self::from_file(file, files).map_err(|(table, error)| DeclaredError::Invalid(path, table, error))
    }

    /// Every file whose change changes what is declared.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn from_file(file: IdentitiesFile, files: Vec<PathBuf>) -> Result<Self, (String, InvalidIdentity)> {
        let mut declared = Self { records: Records::default(), files };
        for account in file.accounts {
            let table = format!("account `{}`", account.id);
            declared.account(account).map_err(|error| (table, error))?;
        }
        for root in file.roots {
            let table = format!("root of account `{}`", root.account);
            let key = DeclaredAccessKey {
                access_key_id: root.access_key_id,
                secret_access_key: root.secret_access_key,
                active: true,
            };
            rules::check_account(&root.account)
                .and_then(|account| declared.access_key(&account, None, key))
                .map_err(|error| (table, error))?;
        }
        for policy in file.policies {
            let table = format!("policy `{}`", policy.name);
            declared.policy(policy).map_err(|error| (table, error))?;
        }
        for service in file.services {
            let table = format!("service `{}`", service.name);
            declared.service(service).map_err(|error| (table, error))?;
        }
        for user in file.users {
            let table = format!("user `{}`", user.name);
            declared.user(user).map_err(|error| (table, error))?;
        }
        for role in file.roles {
            let table = format!("role `{}`", role.name);
            declared.role(role).map_err(|error| (table, error))?;
        }
        Table::build(&declared.records, &Records::default())?;
        Ok(declared)
    }

    fn account(&mut self, account: DeclaredAccount) -> Result<(), InvalidIdentity> {
        let DeclaredAccount { id, access_key_id, secret_access_key, .. } = account;
        let own_id = rules::check_account(&id)?;
        if self.records.accounts.contains_key(&own_id) {
            return Err(InvalidIdentity::Duplicate("the account".to_owned()));
        }
        let (organization_id, path) = (account.organization_id, account.organization_path);
        if let Some(id) = &organization_id {
            rules::check_organization(id, path.as_deref())?;
        } else if path.is_some() {
            return Err(InvalidIdentity::Organization);
        }
        let path = path.map(String::into_boxed_str);
        let record = AccountRecord {
            organization: organization_id.map(|id| Organization { id: id.into_boxed_str(), path }),
            service_control_policies: account.service_control_policies,
        };
        self.records.accounts.insert(own_id, record);
        match (access_key_id, secret_access_key) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(InvalidIdentity::AccessKeyId),
            (Some(_), None) => Err(InvalidIdentity::SecretAccessKey),
            (Some(access_key_id), Some(secret_access_key)) => {
                let key = DeclaredAccessKey { access_key_id, secret_access_key, active: true };
                self.administrator(id, key)
            }
        }
    }

    fn administrator(&mut self, account: String, key: DeclaredAccessKey) -> Result<(), InvalidIdentity> {
        let policies = [("AdministratorAccess".to_owned(), ADMINISTRATOR_ACCESS.to_owned())];
        self.user(DeclaredUser {
            account,
            name: ADMINISTRATOR.to_owned(),
            path: "/".to_owned(),
            policies: policies.into(),
            managed_policies: Vec::new(),
            permissions_boundary: None,
            tags: [].into(),
            access_keys: vec![key],
            mfa_secret: None,
        })
    }

    fn policy(&mut self, policy: DeclaredPolicy) -> Result<(), InvalidIdentity> {
        let DeclaredPolicy { account, name, path, document } = policy;
        let account = rules::check_account(&account)?;
        rules::check_policy_name(&name)?;
        rules::check_path(&path)?;
        let arn = format!("arn:aws:iam::{account}:policy{path}{name}");
        let is_new = self.records.policies.insert(arn, document).is_none();
        is_new.then_some(()).ok_or_else(|| InvalidIdentity::Duplicate("the policy".to_owned()))
    }

    fn service(&mut self, service: DeclaredService) -> Result<(), InvalidIdentity> {
        let DeclaredService { name, acts_for, access_key } = service;
        rules::check_service_name(&name)?;
        if acts_for.is_empty() {
            return Err(InvalidIdentity::ServiceActsForNobody);
        }
        let acts_for = acts_for.iter().map(|id| rules::check_account(id)).collect::<Result<_, _>>()?;
        let mut record = ServiceRecord { acts_for, access_keys: BTreeMap::new() };
        for DeclaredAccessKey { access_key_id, secret_access_key, active } in access_key {
            self.check_access_key(&access_key_id, &secret_access_key)?;
            let key = ServiceKeyRecord { secret_access_key, active };
            if record.access_keys.insert(access_key_id.clone(), key).is_some() {
                return Err(InvalidIdentity::Duplicate(format!("access key id `{access_key_id}`")));
            }
        }
        if self.records.services.contains_key(&name) {
            return Err(InvalidIdentity::Duplicate("the service".to_owned()));
        }
        self.records.services.insert(name, record);
        Ok(())
    }

    /// No id is there twice, whosever it is.
    fn check_access_key(&self, id: &str, secret: &SecretBytes) -> Result<(), InvalidIdentity> {
        rules::check_access_key(id, secret.expose())?;
        let of_a_service = self.records.services.values().any(|service| service.access_keys.contains_key(id));
        if of_a_service || self.records.access_keys.contains_key(id) {
            return Err(InvalidIdentity::Duplicate(format!("access key id `{id}`")));
        }
        Ok(())
    }

    fn user(&mut self, user: DeclaredUser) -> Result<(), InvalidIdentity> {
        let account = rules::check_account(&user.account)?;
        let record = UserRecord {
            unique_id: rules::derived_unique_id("AIDA", account.as_str(), &user.name),
            path: user.path,
            created_unix_seconds: 0,
            policies: user.policies,
            managed_policies: user.managed_policies,
            permissions_boundary: user.permissions_boundary,
            tags: user.tags,
            mfa_device: user.mfa_secret.map(|secret| MfaDeviceRecord { secret }),
        };
        for key in user.access_keys {
            self.access_key(&account, Some(&user.name), key)?;
        }
        let named: Named = (account, user.name);
        if self.records.users.contains_key(&named) {
            return Err(InvalidIdentity::Duplicate("the user".to_owned()));
        }
        self.records.users.insert(named, record);
        Ok(())
    }

    fn role(&mut self, role: DeclaredRole) -> Result<(), InvalidIdentity> {
        let account = rules::check_account(&role.account)?;
        let record = RoleRecord {
            unique_id: rules::derived_unique_id("AROA", account.as_str(), &role.name),
            path: role.path,
            created_unix_seconds: 0,
            trust_policy: role.trust_policy,
            policies: role.policies,
            managed_policies: role.managed_policies,
            permissions_boundary: role.permissions_boundary,
            tags: role.tags,
            max_session_duration_seconds: role.max_session_duration_seconds,
        };
        let named: Named = (account, role.name);
        if self.records.roles.contains_key(&named) {
            return Err(InvalidIdentity::Duplicate("the role".to_owned()));
        }
        self.records.roles.insert(named, record);
        Ok(())
    }

    fn access_key(
        &mut self,
        account: &AccountId,
        user: Option<&str>,
        key: DeclaredAccessKey,
    ) -> Result<(), InvalidIdentity> {
        let DeclaredAccessKey { access_key_id, secret_access_key, active } = key;
        self.check_access_key(&access_key_id, &secret_access_key)?;
        let record = AccessKeyRecord {
            account: account.to_string(),
            user: user.map(str::to_owned),
            secret_access_key,
            active,
            created_unix_seconds: 0,
        };
        self.records.access_keys.insert(access_key_id, record);
        Ok(())
    }
}
