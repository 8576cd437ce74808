//! What is kept of users, roles and access keys: the documents that are sealed and stored, or declared in a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::kms::AccountId;
use crate::identity::kms::organization::Organization;
use crate::secret::SecretBytes;

/// Account and name of a user or role.
pub(super) type Named = (AccountId, String);

/// Identities from one origin, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) users: BTreeMap<Named, UserRecord>,
    pub(super) roles: BTreeMap<Named, RoleRecord>,
    pub(super) access_keys: BTreeMap<String, AccessKeyRecord>,
    pub(super) accounts: BTreeMap<AccountId, AccountRecord>,
    /// Managed policies by ARN, as JSON text.
    pub(super) policies: BTreeMap<String, String>,
    /// By the name of the service.
    pub(super) services: BTreeMap<String, ServiceRecord>,
}

/// What holds for everybody in an account. Declared only, as services are.
#[derive(Clone, Debug)]
pub(super) struct AccountRecord {
    pub(super) organization: Option<Organization>,
    /// By name, as JSON text.
    pub(super) service_control_policies: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub(super) struct ServiceRecord {
    pub(super) acts_for: Vec<AccountId>,
    /// By access key id.
    pub(super) access_keys: BTreeMap<String, ServiceKeyRecord>,
}

#[derive(Clone, Debug)]
pub(super) struct ServiceKeyRecord {
    pub(super) secret_access_key: SecretBytes,
    pub(super) active: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserRecord {
    pub(super) path: String,
    pub(super) unique_id: String,
    pub(super) created_unix_seconds: u64,
    /// By name, as JSON text.
    pub(super) policies: BTreeMap<String, String>,
    /// Names or ARNs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) managed_policies: Vec<String>,
    /// JSON text, or the name or ARN of a managed policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) permissions_boundary: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mfa_device: Option<MfaDeviceRecord>,
}

/// What the codes of a second factor are made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MfaDeviceRecord {
    /// In Base32.
    #[serde(serialize_with = "serialize_secret", deserialize_with = "deserialize_secret")]
    pub(super) secret: SecretBytes,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleRecord {
    pub(super) path: String,
    pub(super) unique_id: String,
    pub(super) created_unix_seconds: u64,
    pub(super) trust_policy: String,
    /// By name, as JSON text.
    pub(super) policies: BTreeMap<String, String>,
    /// Names or ARNs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) managed_policies: Vec<String>,
    /// JSON text, or the name or ARN of a managed policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) permissions_boundary: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) max_session_duration_seconds: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessKeyRecord {
    pub(super) account: String,
    /// Absent: of the root user.
    pub(super) user: Option<String>,
    #[serde(serialize_with = "serialize_secret", deserialize_with = "deserialize_secret")]
    pub(super) secret_access_key: SecretBytes,
    pub(super) active: bool,
    pub(super) created_unix_seconds: u64,
}

pub(super) fn serialize_secret<S: Serializer>(
    secret: &SecretBytes,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(str::from_utf8(secret.expose()).unwrap_or_default())
}

/// Takes the text over without a copy.
pub(super) fn deserialize_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SecretBytes, D::Error> {
    String::deserialize(deserializer).map(|text| SecretBytes::new(text.into_bytes()))
}
