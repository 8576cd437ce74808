//! The identities file of the KMS front end: accounts, users, roles, services and access keys that are declared, not made.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use crate::config::credentials::deserialize_secret;
use crate::config::private_file;
use crate::config::syntax;
use crate::secret::SecretBytes;

const POLICY_BYTES_MAX: u64 = 1 << 16;

/// What an identities file declares. Shapes are right; names, ids and policies are still texts.
#[derive(Debug, Default)]
pub struct IdentitiesFile {
    pub path: PathBuf,
    pub accounts: Vec<DeclaredAccount>,
    pub roots: Vec<DeclaredRoot>,
    pub users: Vec<DeclaredUser>,
    pub roles: Vec<DeclaredRole>,
    pub policies: Vec<DeclaredPolicy>,
    pub services: Vec<DeclaredService>,
    /// The file and every policy file that it names: a change of one changes the identities.
    pub files: Vec<PathBuf>,
}

/// `[[account]]`: an account, what holds for everybody in it, and its administrator, the user `admin`.
#[derive(Debug)]
pub struct DeclaredAccount {
    pub id: String,
    /// Of the user `admin`; without it, there is no such user.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<SecretBytes>,
    pub organization_id: Option<String>,
    pub organization_path: Option<String>,
    /// By name, as JSON text.
    pub service_control_policies: BTreeMap<String, String>,
}

/// `[[policy]]`: a managed policy that users and roles can have.
#[derive(Debug)]
pub struct DeclaredPolicy {
    pub account: String,
    pub name: String,
    pub path: String,
    pub document: String,
}

/// `[[service]]`: a service that calls by itself, or for users and roles of some accounts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredService {
    pub name: String,
    pub acts_for: Vec<String>,
    #[serde(default)]
    pub access_key: Vec<DeclaredAccessKey>,
}

/// `[[root]]`: an access key of the root user of an account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredRoot {
    pub account: String,
    pub access_key_id: String,
    #[serde(deserialize_with = "deserialize_secret")]
    pub secret_access_key: SecretBytes,
}

/// `[[user.access_key]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredAccessKey {
    pub access_key_id: String,
    #[serde(deserialize_with = "deserialize_secret")]
    pub secret_access_key: SecretBytes,
    #[serde(default = "yes")]
    pub active: bool,
}

/// `[[user]]`
#[derive(Debug)]
pub struct DeclaredUser {
    pub account: String,
    pub name: String,
    pub path: String,
    /// By name, as JSON text.
    pub policies: BTreeMap<String, String>,
    pub managed_policies: Vec<String>,
    /// JSON text, or the name or ARN of a managed policy.
    pub permissions_boundary: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub access_keys: Vec<DeclaredAccessKey>,
    /// In Base32.
    pub mfa_secret: Option<SecretBytes>,
}

/// `[[role]]`
#[derive(Debug)]
pub struct DeclaredRole {
    pub account: String,
    pub name: String,
    pub path: String,
    pub trust_policy: String,
    /// By name, as JSON text.
    pub policies: BTreeMap<String, String>,
    pub managed_policies: Vec<String>,
    /// JSON text, or the name or ARN of a managed policy.
    pub permissions_boundary: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub max_session_duration_seconds: u32,
}

/// Why an identities file was not read. Never says what is in the file: there are secrets in it.
#[derive(Debug)]
pub enum IdentitiesFileError {
    File(private_file::PrivateFileError),
    /// Not an identities file, from this line on.
    Malformed(PathBuf, usize),
    /// A policy file cannot be read; says for which table.
    Policy {
        path: PathBuf,
        table: String,
        policy_file: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for IdentitiesFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Malformed(path, line) => write!(
                f,
                "{}: line {line}: expected `[[account]]`, `[[root]]`, `[[user]]`, `[[role]]`, `[[policy]]` and \
                 `[[service]]` tables",
                path.display()
            ),
            Self::Policy { path, table, policy_file, error } => {
                write!(f, "{}: {table}: policy file {}: {error}", path.display(), policy_file.display())
            }
        }
    }
}

impl std::error::Error for IdentitiesFileError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    account: Vec<AccountTable>,
    #[serde(default)]
    root: Vec<DeclaredRoot>,
    #[serde(default)]
    user: Vec<UserTable>,
    #[serde(default)]
    role: Vec<RoleTable>,
    #[serde(default)]
    policy: Vec<PolicyTable>,
    #[serde(default)]
    service: Vec<DeclaredService>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountTable {
    id: String,
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "deserialize_secret_or_none")]
    secret_access_key: Option<SecretBytes>,
    organization_id: Option<String>,
    organization_path: Option<String>,
    #[serde(default)]
    service_control_policies: BTreeMap<String, PolicySource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyTable {
    account: String,
    name: String,
    #[serde(default = "root_path")]
    path: String,
    document: PolicySource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserTable {
    account: String,
    name: String,
    #[serde(default = "root_path")]
    path: String,
    #[serde(default)]
    policies: BTreeMap<String, PolicySource>,
    #[serde(default)]
    managed_policies: Vec<String>,
    permissions_boundary: Option<PolicySource>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    access_key: Vec<DeclaredAccessKey>,
    #[serde(default, deserialize_with = "deserialize_secret_or_none")]
    mfa_secret: Option<SecretBytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleTable {
    account: String,
    name: String,
    #[serde(default = "root_path")]
    path: String,
    trust_policy: PolicySource,
    #[serde(default)]
    policies: BTreeMap<String, PolicySource>,
    #[serde(default)]
    managed_policies: Vec<String>,
    permissions_boundary: Option<PolicySource>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "an_hour")]
    max_session_duration_seconds: u32,
}

/// A policy in place, or in a file of its own.
#[derive(Deserialize)]
#[serde(untagged)]
enum PolicySource {
    Inline(String),
    File(PolicyFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    file: PathBuf,
}

fn deserialize_secret_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretBytes>, D::Error> {
    deserialize_secret(deserializer).map(Some)
}

const fn yes() -> bool {
    true
}

fn root_path() -> String {
    "/".to_owned()
}

const fn an_hour() -> u32 {
    3600
}

/// Reads the file at `path` and the policy files it names, which are relative to its folder.
pub fn read(path: &Path) -> Result<IdentitiesFile, IdentitiesFileError> {
    let content = private_file::read(path).map_err(IdentitiesFileError::File)?;
    let malformed = |line| IdentitiesFileError::Malformed(path.to_owned(), line);
    let text = str::from_utf8(content.expose()).map_err(|_| malformed(1))?;
    // The message of the parser may repeat what it found, so only its place is told.
    let tables: Tables = syntax::read(text).map_err(|wrong| malformed(wrong.line))?;
    let mut reader = Reader { path, files: vec![path.to_owned()] };
    let accounts =
        tables.account.into_iter().map(|account| reader.account(account)).collect::<Result<_, _>>()?;
    let users = tables.user.into_iter().map(|user| reader.user(user)).collect::<Result<_, _>>()?;
    let roles = tables.role.into_iter().map(|role| reader.role(role)).collect::<Result<_, _>>()?;
    let policies =
        tables.policy.into_iter().map(|policy| reader.managed_policy(policy)).collect::<Result<_, _>>()?;
    Ok(IdentitiesFile {
        path: path.to_owned(),
        accounts,
        roots: tables.root,
        users,
        roles,
        policies,
        services: tables.service,
        files: reader.files,
    })
}

struct Reader<'a> {
    path: &'a Path,
    files: Vec<PathBuf>,
}

impl Reader<'_> {
    fn account(&mut self, table: AccountTable) -> Result<DeclaredAccount, IdentitiesFileError> {
        let place = format!("account `{}`", table.id);
        Ok(DeclaredAccount {
            service_control_policies: self.policies(&place, table.service_control_policies)?,
            id: table.id,
            access_key_id: table.access_key_id,
            secret_access_key: table.secret_access_key,
            organization_id: table.organization_id,
            organization_path: table.organization_path,
        })
    }

    fn managed_policy(&mut self, table: PolicyTable) -> Result<DeclaredPolicy, IdentitiesFileError> {
        let PolicyTable { account, name, path, document } = table;
        let document = self.policy(&format!("policy `{name}`"), document)?;
        Ok(DeclaredPolicy { account, name, path, document })
    }

    fn user(&mut self, table: UserTable) -> Result<DeclaredUser, IdentitiesFileError> {
        let place = format!("user `{}`", table.name);
        Ok(DeclaredUser {
            policies: self.policies(&place, table.policies)?,
            permissions_boundary: self.optional_policy(&place, table.permissions_boundary)?,
            account: table.account,
            name: table.name,
            path: table.path,
            managed_policies: table.managed_policies,
            tags: table.tags,
            access_keys: table.access_key,
            mfa_secret: table.mfa_secret,
        })
    }

    fn role(&mut self, table: RoleTable) -> Result<DeclaredRole, IdentitiesFileError> {
        let place = format!("role `{}`", table.name);
        Ok(DeclaredRole {
            trust_policy: self.policy(&place, table.trust_policy)?,
            policies: self.policies(&place, table.policies)?,
            permissions_boundary: self.optional_policy(&place, table.permissions_boundary)?,
            account: table.account,
            name: table.name,
            path: table.path,
            managed_policies: table.managed_policies,
            tags: table.tags,
            max_session_duration_seconds: table.max_session_duration_seconds,
        })
    }

    fn optional_policy(
        &mut self,
        table: &str,
        source: Option<PolicySource>,
    ) -> Result<Option<String>, IdentitiesFileError> {
        source.map(|source| self.policy(table, source)).transpose()
    }

    fn policies(
        &mut self,
        table: &str,
        sources: BTreeMap<String, PolicySource>,
    ) -> Result<BTreeMap<String, String>, IdentitiesFileError> {
        sources.into_iter().map(|(name, source)| Ok((name, self.policy(table, source)?))).collect()
    }

    fn policy(&mut self, table: &str, source: PolicySource) -> Result<String, IdentitiesFileError> {
        let named = match source {
            PolicySource::Inline(text) => return Ok(text),
            PolicySource::File(PolicyFile { file }) => file,
        };
        let policy_file = private_file::folder(self.path).join(named);
        self.files.push(policy_file.clone());
        read_policy(&policy_file).map_err(|error| IdentitiesFileError::Policy {
            path: self.path.to_owned(),
            table: table.to_owned(),
            policy_file,
            error,
        })
    }
}

fn read_policy(path: &Path) -> io::Result<String> {
    // Asked before opening, because opening a named pipe waits for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut policy = String::new();
    File::open(path)?.take(POLICY_BYTES_MAX + 1).read_to_string(&mut policy)?;
    if policy.len() as u64 > POLICY_BYTES_MAX {
        return Err(io::Error::other("bigger than 64 KiB"));
    }
    Ok(policy)
}
