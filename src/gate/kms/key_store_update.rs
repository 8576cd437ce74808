//! What an administrator wants to change about a custom key store, and when that is possible.

use crate::domain::kms::{Connection, CustomKeyStore, KeyStoreBacking, XksProxyConnectivity};
use crate::gate::kms::key_store_refused::KeyStoreRefused;
use crate::gate::kms::{ProxyCredential, Refused};
use crate::secret::SecretBytes;

/// `UpdateCustomKeyStore`: what is absent stays as it is.
#[derive(Default)]
pub struct KeyStoreUpdate {
    pub name: Option<String>,
    pub cluster: ClusterUpdate,
    pub external: ExternalUpdate,
}

#[derive(Default)]
pub struct ClusterUpdate {
    pub cluster_id: Option<String>,
    pub password: Option<SecretBytes>,
}

#[derive(Default)]
pub struct ExternalUpdate {
    pub connectivity: Option<XksProxyConnectivity>,
    pub uri_endpoint: Option<String>,
    pub uri_path: Option<String>,
    pub vpc_service_name: Option<String>,
    pub vpc_service_owner: Option<String>,
    pub credential: Option<ProxyCredential>,
}

impl KeyStoreUpdate {
    /// Whether the proxy or cluster may not fit any more. A name says nothing of that; a password is tried when the
    /// key store is connected.
    pub(super) fn is_to_be_tried(&self) -> bool {
        let ClusterUpdate { cluster_id, password: _ } = &self.cluster;
        let ExternalUpdate {
            connectivity,
            uri_endpoint,
            uri_path,
            vpc_service_name,
            vpc_service_owner,
            credential,
        } = &self.external;
        let names = [cluster_id, uri_endpoint, uri_path, vpc_service_name, vpc_service_owner];
        connectivity.is_some() || credential.is_some() || names.iter().any(|name| name.is_some())
    }

    /// AWS KMS Developer Guide, Edit external key store properties.
    fn needs_disconnection(&self) -> bool {
        let ClusterUpdate { cluster_id, password } = &self.cluster;
        let ExternalUpdate { connectivity, uri_endpoint, vpc_service_name, vpc_service_owner, .. } =
            &self.external;
        let names = [cluster_id, uri_endpoint, vpc_service_name, vpc_service_owner];
        connectivity.is_some() || password.is_some() || names.iter().any(|name| name.is_some())
    }
}

/// Whether the members of an update are for this kind of key store, and go together.
pub(super) fn check_members(store: &CustomKeyStore, update: &KeyStoreUpdate) -> Result<(), Refused> {
    let refuse = |text| Err(KeyStoreRefused::Parameters(text).into());
    let KeyStoreUpdate { name, cluster, external } = update;
    let has_cluster = cluster.cluster_id.is_some() || cluster.password.is_some();
    let ExternalUpdate { connectivity, uri_endpoint, uri_path, credential, .. } = external;
    let has_service = external.vpc_service_name.is_some() || external.vpc_service_owner.is_some();
    let has_external = connectivity.is_some()
        || uri_endpoint.is_some()
        || uri_path.is_some()
        || credential.is_some()
        || has_service;
    if name.is_none() && !has_cluster && !has_external {
        return refuse("Specify at least one property to change.");
    }
    let backing = match &store.backing {
        KeyStoreBacking::CloudHsm(_) if has_external => {
            return refuse(
                "Properties of an external key store are not valid for an AWS CloudHSM key store.",
            );
        }
        KeyStoreBacking::CloudHsm(_) => return Ok(()),
        KeyStoreBacking::External(_) if has_cluster => {
            return refuse(
                "Properties of an AWS CloudHSM key store are not valid for an external key store.",
            );
        }
        KeyStoreBacking::External(backing) => backing,
    };
    let next = connectivity.unwrap_or(backing.connectivity);
    let changes = next != backing.connectivity;
    match next {
        _ if changes && uri_endpoint.is_none() => {
            refuse("XksProxyUriEndpoint is required to change XksProxyConnectivity.")
        }
        XksProxyConnectivity::PublicEndpoint if has_service => refuse(
            "XksProxyVpcEndpointServiceName and XksProxyVpcEndpointServiceOwner are not valid for the connectivity \
             PUBLIC_ENDPOINT.",
        ),
        XksProxyConnectivity::VpcEndpointService if changes && external.vpc_service_name.is_none() => {
            refuse("XksProxyVpcEndpointServiceName is required for the connectivity VPC_ENDPOINT_SERVICE.")
        }
        XksProxyConnectivity::PublicEndpoint | XksProxyConnectivity::VpcEndpointService => Ok(()),
    }
}

/// What may change in which state of the connection: everything that is connected needs to be disconnected for, and
/// a CloudHSM key store for anything.
pub(super) fn check_updatable(store: &CustomKeyStore, update: &KeyStoreUpdate) -> Result<(), Refused> {
    let is_of_cluster = matches!(store.backing, KeyStoreBacking::CloudHsm(_));
    let is_free = store.connection == Connection::Disconnected;
    if is_free || !(is_of_cluster || update.needs_disconnection()) {
        return Ok(());
    }
    Err(KeyStoreRefused::InvalidState(store.connection.state()).into())
}
