//! Why something about a custom key store, or a key in one, is refused.

use std::fmt;

use crate::domain::kms::{ConnectionState, CustomKeyStoreType, KeyStoreConflict};
use crate::key_manager::HsmError;
use crate::key_manager::cluster::ClusterError;
use crate::key_manager::xks_proxy::ProxyFailure;
use crate::store::StoreError;

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

impl fmt::Display for KeyStoreRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(refused) => refused.fmt(f),
            Self::ClusterNotConnected | Self::NotConnected { .. } => {
                f.write_str("its key store is not connected")
            }
            Self::Conflict(conflict) => StoreError::KeyStoreConflict(*conflict).fmt(f),
            Self::HasKeys => f.write_str("there are keys in the key store"),
            Self::InnerLayer => f.write_str("what the proxy decrypted was not made with this key"),
            Self::InvalidState(state) => write!(f, "the connection of the key store is {}", state.as_str()),
            Self::Missing { named } => write!(f, "no key store is named {named}"),
            Self::OtherType(of) => write!(f, "only key stores of the type {} can do this", of.as_str()),
            Self::Parameters(reason) => f.write_str(reason),
            Self::Proxy { failure, .. } => failure.fmt(f),
            Self::ProxyUnhealthy => f.write_str("every key manager behind the proxy is out of service"),
            Self::Throttled => f.write_str("the request quota of the key store is used up"),
            Self::VpcEndpointService(refused) => refused.fmt(f),
            Self::XksKeyInUse => f.write_str("another key has its external key"),
            Self::XksKeyNotEnabled => f.write_str("its external key is not enabled"),
            Self::XksKeySpec { spec } => write!(f, "its external key is of the spec {spec}"),
            Self::XksKeyUsage { usage } => write!(f, "its external key is for {usage}"),
        }
    }
}

impl fmt::Display for ClusterRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::LockedOut => f.write_str("kmsuser cannot log in to the cluster"),
            Self::NoActiveHsm => f.write_str("no HSM of the cluster is active"),
            Self::NotFound { cluster_id } => write!(f, "there is no cluster {cluster_id}"),
            Self::NotRelated { cluster_id } => write!(f, "cluster {cluster_id} does not have the same keys"),
            Self::TrustAnchor => f.write_str("the trust anchor is not that of the cluster"),
            Self::Use(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for VpcEndpointServiceRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConfiguration(reason) => f.write_str(reason),
            Self::NotFound { name } => write!(f, "there is no VPC endpoint service {name}"),
        }
    }
}

impl From<ClusterError> for KeyStoreRefused {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(ClusterRefused::Error(error))
    }
}
