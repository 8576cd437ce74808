//! What `holdfast policy simulate` asks the running daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::kms::EncryptionContext;

/// Who wants to do what, and what is known of it beyond what the daemon knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimulationRequest {
    /// The ARN of a user, a role, a role session or a root user.
    pub caller: String,
    pub ask: Asked,
    /// By id, ARN or alias.
    pub key: Option<String>,
    /// Of ReEncrypt.
    pub destination_key: Option<String>,
    pub alias: Option<String>,
    /// Of RetireGrant, the id of the grant.
    pub grant: Option<String>,
    #[serde(default)]
    pub context: BTreeMap<String, Vec<String>>,
    pub encryption_context: Option<EncryptionContext>,
    pub source_ip: Option<String>,
    pub region: Option<String>,
    /// Whose key an id or alias means; absent: the caller's.
    pub account: Option<String>,
}

/// One permission, or all that an operation needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    Action(String),
    Operation(String),
}

impl Default for Asked {
    fn default() -> Self {
        Self::Operation(String::new())
    }
}
