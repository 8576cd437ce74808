//! Identities that a file declares, and the files to watch for changes of it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::identities::{
    self, DeclaredAccessKey, DeclaredAccount, DeclaredRole, DeclaredUser, IdentitiesFile, IdentitiesFileError,
};
use crate::domain::kms::AccountId;
use crate::identity::kms::record::{AccessKeyRecord, Named, Records, RoleRecord, UserRecord};
use crate::identity::kms::rules::{self, InvalidIdentity};
use crate::identity::kms::table::Table;

/// The user that an `[[account]]` table makes.
const ADMINISTRATOR: &str = "admin";
const ADMINISTRATOR_ACCESS: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

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
        let DeclaredAccount { id, access_key_id, secret_access_key } = account;
        let policies = [("AdministratorAccess".to_owned(), ADMINISTRATOR_ACCESS.to_owned())];
        self.user(DeclaredUser {
            account: id,
            name: ADMINISTRATOR.to_owned(),
            path: "/".to_owned(),
            policies: policies.into(),
            tags: [].into(),
            access_keys: vec![DeclaredAccessKey { access_key_id, secret_access_key, active: true }],
        })
    }

    fn user(&mut self, user: DeclaredUser) -> Result<(), InvalidIdentity> {
        let account = rules::check_account(&user.account)?;
        let record = UserRecord {
            unique_id: rules::derived_unique_id("AIDA", account.as_str(), &user.name),
            path: user.path,
            created_unix_seconds: 0,
            policies: user.policies,
            tags: user.tags,
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
        rules::check_access_key(&access_key_id, secret_access_key.expose())?;
        if self.records.access_keys.contains_key(&access_key_id) {
            return Err(InvalidIdentity::Duplicate(format!("access key id `{access_key_id}`")));
        }
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
