//! What can be asked about identities by their administrator, and the answers: JSON over the control socket.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::identity::kms::record::{deserialize_secret, serialize_secret};
use crate::identity::kms::rules::InvalidIdentity;
use crate::key_manager::HsmError;
use crate::secret::SecretBytes;
use crate::store::StoreError;

/// Whoever can open the control socket may do all of it.
pub trait IdentityAdmin: Send + Sync {
    fn administer(&self, request: AdminRequest) -> Administered<'_>;
}

/// Answers a request of the control socket, both JSON of one line.
pub async fn administer_json(admin: &dyn IdentityAdmin, request: &str) -> Result<Zeroizing<String>, String> {
    let request =
        serde_json::from_str(request).map_err(|_| "the command is of another version".to_owned())?;
    let answer = admin.administer(request).await.map_err(|error| error.to_string())?;
    serde_json::to_string(&answer).map(Zeroizing::new).map_err(|error| error.to_string())
}

pub type Administered<'a> = Pin<Box<dyn Future<Output = Result<AdminAnswer, AdminError>> + Send + 'a>>;

/// A user or role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    pub account: String,
    pub kind: HolderKind,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    Role,
    User,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    List {
        account: Option<String>,
        kind: HolderKind,
    },
    Show(Holder),
    CreateUser {
        user: Holder,
        path: String,
        tags: BTreeMap<String, String>,
    },
    CreateRole {
        role: Holder,
        path: String,
        tags: BTreeMap<String, String>,
        trust_policy: String,
        max_session_duration_seconds: u32,
    },
    Delete(Holder),
    PutPolicy {
        of: Holder,
        name: String,
        document: String,
    },
    DeletePolicy {
        of: Holder,
        name: String,
    },
    /// The document, or the name of a managed policy.
    PutBoundary {
        of: Holder,
        document: String,
    },
    DeleteBoundary {
        of: Holder,
    },
    /// In place of the device that the user has, if it has one.
    CreateMfaDevice {
        user: Holder,
    },
    DeleteMfaDevice {
        user: Holder,
    },
    PutTrustPolicy {
        role: Holder,
        document: String,
    },
    /// Without a user: of the root user.
    CreateAccessKey {
        account: String,
        user: Option<String>,
    },
    ListAccessKeys {
        account: Option<String>,
    },
    SetAccessKeyActive {
        access_key_id: String,
        active: bool,
    },
    DeleteAccessKey {
        access_key_id: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminAnswer {
    Done,
    Identities(Vec<Shown>),
    Identity(Box<Shown>),
    AccessKeys(Vec<ShownAccessKey>),
    NewAccessKey(NewAccessKey),
    NewMfaDevice(NewMfaDevice),
}

/// A user or role as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub arn: String,
    pub unique_id: String,
    pub created_unix_seconds: u64,
    /// In the identities file: only there it can be changed.
    pub declared: bool,
    pub tags: BTreeMap<String, String>,
    /// By name, as JSON text.
    pub policies: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_policies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// The ARN of the device of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_device: Option<String>,
    /// Of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_session_duration_seconds: Option<u32>,
}

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownAccessKey {
    pub access_key_id: String,
    pub account: String,
    /// Absent: of the root user.
    pub user: Option<String>,
    pub active: bool,
    pub created_unix_seconds: u64,
    pub declared: bool,
}

/// The one time that a secret is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAccessKey {
    pub access_key_id: String,
    #[serde(serialize_with = "serialize_secret", deserialize_with = "deserialize_secret")]
    pub secret_access_key: SecretBytes,
}

/// The one time that the secret of a device is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMfaDevice {
    /// Its ARN, which AWS STS takes as `SerialNumber`.
    pub serial_number: String,
    /// For an authenticator app: the secret is in it.
    #[serde(serialize_with = "serialize_secret", deserialize_with = "deserialize_secret")]
    pub otpauth_uri: SecretBytes,
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminError {
    /// It is declared in the identities file.
    Declared,
    Exists,
    Hsm(HsmError),
    Invalid(InvalidIdentity),
    /// What keeps it from being deleted or made.
    Limit(&'static str),
    Missing,
    /// The system gave no random bytes.
    Random,
    Store(StoreError),
    /// A row is not what was written.
    Damaged(String),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared => f.write_str("it is declared in the identities file: change it there"),
            Self::Exists => f.write_str("it exists already"),
            Self::Hsm(error) => write!(f, "HSM: {error}"),
            Self::Invalid(error) => error.fmt(f),
            Self::Limit(reason) => f.write_str(reason),
            Self::Missing => f.write_str("there is no such identity"),
            Self::Random => f.write_str("the system gave no random bytes"),
            Self::Store(error) => write!(f, "store: {error}"),
            Self::Damaged(place) => write!(f, "{place} in the store is damaged"),
        }
    }
}

impl std::error::Error for AdminError {}

impl From<InvalidIdentity> for AdminError {
    fn from(error: InvalidIdentity) -> Self {
        Self::Invalid(error)
    }
}

impl From<HsmError> for AdminError {
    fn from(error: HsmError) -> Self {
        Self::Hsm(error)
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
