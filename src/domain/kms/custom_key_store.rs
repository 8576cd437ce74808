//! A custom key store: what is stored of it, and what two of them must not share.

use std::fmt;
use std::sync::Arc;

use crate::domain::kms::hex::Hex;
use crate::domain::kms::{KeyState, Scope, UnixMillis, words};

/// The id of a custom key store: `cks-` and 17 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomKeyStoreId(Arc<str>);

/// The id of an external key at its proxy (`XksKeyId`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XksKeyId(Arc<str>);

const ID_PREFIX: &str = "cks-";
const ID_DIGITS: usize = 17;
const ID_RANDOM_BYTES: usize = 9;
/// `CustomKeyStoreIdType` of the service model.
const ID_CHARS_MAX: usize = 64;
/// `XksKeyIdType` of the service model.
const XKS_KEY_ID_CHARS_MAX: usize = 128;

words! {
    /// What was last asked of the connection, and what came of it. It says nothing about the present health.
    pub enum ConnectionState {
        Connected = "CONNECTED",
        Connecting = "CONNECTING",
        Disconnected = "DISCONNECTED",
        Disconnecting = "DISCONNECTING",
        Failed = "FAILED",
    }
}

words! {
    /// Why a connection attempt failed.
    pub enum ConnectionErrorCode {
        ClusterNotFound = "CLUSTER_NOT_FOUND",
        InsufficientCloudHsmHsms = "INSUFFICIENT_CLOUDHSM_HSMS",
        InternalError = "INTERNAL_ERROR",
        InvalidCredentials = "INVALID_CREDENTIALS",
        NetworkErrors = "NETWORK_ERRORS",
        UserLockedOut = "USER_LOCKED_OUT",
        UserLoggedIn = "USER_LOGGED_IN",
        UserNotFound = "USER_NOT_FOUND",
        XksProxyAccessDenied = "XKS_PROXY_ACCESS_DENIED",
        XksProxyInvalidConfiguration = "XKS_PROXY_INVALID_CONFIGURATION",
        XksProxyInvalidResponse = "XKS_PROXY_INVALID_RESPONSE",
        XksProxyInvalidTlsConfiguration = "XKS_PROXY_INVALID_TLS_CONFIGURATION",
        XksProxyNotReachable = "XKS_PROXY_NOT_REACHABLE",
        XksProxyTimedOut = "XKS_PROXY_TIMED_OUT",
        XksVpcEndpointServiceInvalidConfiguration = "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION",
        XksVpcEndpointServiceNotFound = "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND",
    }
}

words! {
    /// How AWS KMS would reach the proxy of an external key store.
    pub enum XksProxyConnectivity {
        PublicEndpoint = "PUBLIC_ENDPOINT",
        VpcEndpointService = "VPC_ENDPOINT_SERVICE",
    }
}

words! {
    pub enum CustomKeyStoreType {
        AwsCloudHsm = "AWS_CLOUDHSM",
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

/// Everything that is stored of a custom key store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomKeyStore {
    pub scope: Scope,
    pub id: CustomKeyStoreId,
    /// Goes up with every change: a change made to an older revision is refused.
    pub revision: u64,
    pub name: String,
    pub created: UnixMillis,
    pub connection: Connection,
    pub backing: KeyStoreBacking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    Connected,
    Connecting,
    Disconnected,
    Disconnecting,
    Failed(ConnectionErrorCode),
}

/// What is behind a custom key store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStoreBacking {
    CloudHsm(CloudHsmBacking),
    External(ExternalBacking),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudHsmBacking {
    pub cluster_id: String,
    /// PEM, as it was given.
    pub trust_anchor: Arc<str>,
    /// What `kmsuser` logs in with.
    pub password: SealedSecret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalBacking {
    pub connectivity: XksProxyConnectivity,
    /// `https://` and a host.
    pub uri_endpoint: String,
    /// Ends in `/kms/xks/v1`.
    pub uri_path: String,
    /// Present exactly with the connectivity `VPC_ENDPOINT_SERVICE`.
    pub vpc_endpoint_service: Option<VpcEndpointService>,
    pub access_key_id: String,
    pub secret_access_key: SealedSecret,
    /// When the credential was given to KMS.
    pub credential_since: UnixMillis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcEndpointService {
    pub name: String,
    /// The account that owns it, if that was said.
    pub owner: Option<String>,
}

/// A secret under the root key of the HSM.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(pub Vec<u8>);

/// What two custom key stores must not have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStoreConflict {
    Cluster,
    Name,
    Uri,
    UriEndpoint,
    VpcEndpointService,
}

impl CustomKeyStoreId {
    pub fn from_random(random: [u8; ID_RANDOM_BYTES]) -> Self {
        let mut text = format!("{ID_PREFIX}{}", Hex(&random));
        text.truncate(ID_PREFIX.len() + ID_DIGITS);
        Self(Arc::from(text))
    }

    /// Any text that the API takes for one: it may name no key store.
    pub fn parse(text: &str) -> Option<Self> {
        (1..=ID_CHARS_MAX).contains(&text.chars().count()).then(|| Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl XksKeyId {
    /// `XksKeyIdType` of the service model.
    pub fn parse(text: &str) -> Option<Self> {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_valid = (1..=XKS_KEY_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_legal);
        is_valid.then(|| Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CustomKeyStore {
    pub const fn kind(&self) -> CustomKeyStoreType {
        match self.backing {
            KeyStoreBacking::CloudHsm(_) => CustomKeyStoreType::AwsCloudHsm,
            KeyStoreBacking::External(_) => CustomKeyStoreType::ExternalKeyStore,
        }
    }

    /// The password or the secret access key.
    pub fn sealed_secret(&self) -> &[u8] {
        match &self.backing {
            KeyStoreBacking::CloudHsm(backing) => &backing.password.0,
            KeyStoreBacking::External(backing) => &backing.secret_access_key.0,
        }
    }

    /// The same one under another root key.
    pub fn set_sealed_secret(&mut self, sealed: Vec<u8>) {
        match &mut self.backing {
            KeyStoreBacking::CloudHsm(backing) => backing.password = SealedSecret(sealed),
            KeyStoreBacking::External(backing) => backing.secret_access_key = SealedSecret(sealed),
        }
    }

    /// Does nothing to an external key store, which has no such password.
    pub fn set_password(&mut self, password: SealedSecret) {
        match &mut self.backing {
            KeyStoreBacking::CloudHsm(backing) => backing.password = password,
            KeyStoreBacking::External(_) => {}
        }
    }

    /// What this key store must not share with `other` but does (AWS KMS Developer Guide, Create an external key
    /// store and Create an AWS CloudHSM key store).
    pub fn conflict_with(&self, other: &Self) -> Option<KeyStoreConflict> {
        if self.scope == other.scope && self.id == other.id {
            return None;
        }
        if self.scope == other.scope && self.name == other.name {
            return Some(KeyStoreConflict::Name);
        }
        match (&self.backing, &other.backing) {
            (KeyStoreBacking::CloudHsm(ours), KeyStoreBacking::CloudHsm(theirs)) => {
                // Whoever connects a cluster changes the password of its user: there can be one only, wherever.
                let is_same = ours.cluster_id == theirs.cluster_id
                    || is_same_certificate(&ours.trust_anchor, &theirs.trust_anchor);
                is_same.then_some(KeyStoreConflict::Cluster)
            }
            (KeyStoreBacking::External(ours), KeyStoreBacking::External(theirs)) => {
                ours.conflict_with(theirs, (&self.scope, &other.scope))
            }
            (KeyStoreBacking::CloudHsm(_), KeyStoreBacking::External(_))
            | (KeyStoreBacking::External(_), KeyStoreBacking::CloudHsm(_)) => None,
        }
    }
}

impl ExternalBacking {
    fn conflict_with(
        &self,
        other: &Self,
        (our_scope, their_scope): (&Scope, &Scope),
    ) -> Option<KeyStoreConflict> {
        if our_scope.region != their_scope.region {
            return None;
        }
        let service =
            |backing: &Self| backing.vpc_endpoint_service.as_ref().map(|service| service.name.clone());
        if service(self).is_some() && service(self) == service(other) {
            return Some(KeyStoreConflict::VpcEndpointService);
        }
        if !self.uri_endpoint.eq_ignore_ascii_case(&other.uri_endpoint) {
            return None;
        }
        let is_vpc = |backing: &Self| backing.connectivity == XksProxyConnectivity::VpcEndpointService;
        if is_vpc(self) || is_vpc(other) {
            return Some(KeyStoreConflict::UriEndpoint);
        }
        (our_scope == their_scope && self.uri_path == other.uri_path).then_some(KeyStoreConflict::Uri)
    }
}

/// Line ends and blank lines do not make another certificate of a PEM text.
pub fn is_same_certificate(one: &str, other: &str) -> bool {
    one.split_ascii_whitespace().eq(other.split_ascii_whitespace())
}

impl Connection {
    pub const fn state(self) -> ConnectionState {
        match self {
            Self::Connected => ConnectionState::Connected,
            Self::Connecting => ConnectionState::Connecting,
            Self::Disconnected => ConnectionState::Disconnected,
            Self::Disconnecting => ConnectionState::Disconnecting,
            Self::Failed(_) => ConnectionState::Failed,
        }
    }

    pub const fn error_code(self) -> Option<ConnectionErrorCode> {
        match self {
            Self::Failed(code) => Some(code),
            Self::Connected | Self::Connecting | Self::Disconnected | Self::Disconnecting => None,
        }
    }

    /// None if the words do not go together.
    pub fn from_words(state: ConnectionState, code: Option<ConnectionErrorCode>) -> Option<Self> {
        match (state, code) {
            (ConnectionState::Connected, None) => Some(Self::Connected),
            (ConnectionState::Connecting, None) => Some(Self::Connecting),
            (ConnectionState::Disconnected, None) => Some(Self::Disconnected),
            (ConnectionState::Disconnecting, None) => Some(Self::Disconnecting),
            (ConnectionState::Failed, Some(code)) => Some(Self::Failed(code)),
            (_, _) => None,
        }
    }

    /// What a key of the store looks like: one that could be used or disabled is neither while the store is not
    /// connected, and is again what it was when it is (AWS KMS Developer Guide, Key states of AWS KMS keys).
    pub const fn shown_state(self, stored: KeyState) -> KeyState {
        match (self, stored) {
            (Self::Connected, _) => stored,
            (_, KeyState::Disabled | KeyState::Enabled) => KeyState::Unavailable,
            (_, _) => stored,
        }
    }

    /// `ConnectCustomKeyStore` from here.
    pub const fn can_connect(self) -> bool {
        matches!(self, Self::Disconnected)
    }

    /// `DisconnectCustomKeyStore` from here.
    pub const fn can_disconnect(self) -> bool {
        matches!(self, Self::Connected | Self::Connecting | Self::Failed(_))
    }
}

impl fmt::Display for CustomKeyStoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for XksKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
