//! Why something about a custom key store, or a key in one, is refused.

use crate::domain::kms::{ConnectionState, CustomKeyStoreType, KeyStoreConflict};
use crate::key_manager::HsmError;
use crate::key_manager::cluster::ClusterError;
use crate::key_manager::xks_proxy::ProxyFailure;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStoreRefused {
    /// The cluster, asked for something about one of its keys.
    Cluster(ClusterRefused),
    Conflict(KeyStoreConflict),
    HasKeys,
    /// Not possible in this state of the connection.
    InvalidState(ConnectionState),
    Missing {
        /// Id or name, as it was given.
        named: String,
    },
    /// The key, or the one to be made, is in an external key store that is not connected.
    NotConnected {
        while_: ProxyUse,
    },
    /// As above, of a cluster.
    ClusterNotConnected,
    /// What the proxy decrypted is not what this key made.
    InnerLayer,
    /// Only key stores of this type can do this.
    OtherType(CustomKeyStoreType),
    /// While this was done.
    Proxy {
        while_: ProxyUse,
        failure: ProxyFailure,
    },
    /// Every key manager behind the proxy is out of service.
    ProxyUnhealthy,
    /// The request quota of the key store is used up.
    Throttled,
    /// `ValidationException`: what is wrong with the members of the request.
    Parameters(&'static str),
    VpcEndpointService(VpcEndpointServiceRefused),
    XksKeyInUse,
    XksKeyNotEnabled,
    XksKeySpec {
        spec: String,
    },
    XksKeyUsage {
        usage: String,
    },
}

/// The same failure of a proxy is another exception in another API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyUse {
    CreateKey,
    Cryptography,
    /// CreateCustomKeyStore, UpdateCustomKeyStore.
    Management,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRefused {
    /// CreateCustomKeyStore and others: something that is wrong with the cluster.
    Error(ClusterError),
    /// A cryptographic operation, and `kmsuser` cannot log in.
    LockedOut,
    NoActiveHsm,
    NotFound {
        cluster_id: String,
    },
    /// Another cluster that does not have the same keys.
    NotRelated {
        cluster_id: String,
    },
    TrustAnchor,
    /// A cryptographic operation.
    Use(HsmError),
}

/// What is wrong with a VPC endpoint service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VpcEndpointServiceRefused {
    /// It breaks this rule.
    InvalidConfiguration(String),
    NotFound {
        name: String,
    },
}

impl From<ClusterError> for KeyStoreRefused {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(ClusterRefused::Error(error))
    }
}
