//! `UpdateCustomKeyStore`: changes a key store once the proxy or cluster has proved to fit the new values.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{AccountAction, XksProxyConnectivity};
use crate::gate::kms::{Call, ClusterUpdate, ExternalUpdate, KeyStoreUpdate};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::custom_key_store::{CredentialMember, Nothing, SecretText};

pub(super) struct UpdateCustomKeyStore;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    custom_key_store_id: Cow<'b, str>,
    new_custom_key_store_name: Option<String>,
    key_store_password: Option<SecretText>,
    cloud_hsm_cluster_id: Option<String>,
    xks_proxy_uri_endpoint: Option<String>,
    xks_proxy_uri_path: Option<String>,
    xks_proxy_vpc_endpoint_service_name: Option<String>,
    xks_proxy_vpc_endpoint_service_owner: Option<String>,
    xks_proxy_authentication_credential: Option<CredentialMember>,
    xks_proxy_connectivity: Option<XksProxyConnectivity>,
}

impl<'b> Operation<'b> for UpdateCustomKeyStore {
    type Request = Request<'b>;
    type Response = Nothing;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Nothing, Error> {
        let key_stores = call.custom_key_stores(AccountAction::UpdateCustomKeyStore)?;
        let update = KeyStoreUpdate {
            name: request.new_custom_key_store_name,
            cluster: ClusterUpdate {
                cluster_id: request.cloud_hsm_cluster_id,
                password: request.key_store_password.map(SecretText::into_secret),
            },
            external: ExternalUpdate {
                connectivity: request.xks_proxy_connectivity,
                uri_endpoint: request.xks_proxy_uri_endpoint,
                uri_path: request.xks_proxy_uri_path,
                vpc_service_name: request.xks_proxy_vpc_endpoint_service_name,
                vpc_service_owner: request.xks_proxy_vpc_endpoint_service_owner,
                credential: request
                    .xks_proxy_authentication_credential
                    .map(CredentialMember::into_credential),
            },
        };
        key_stores.update(&request.custom_key_store_id, update).await?;
        Ok(Nothing {})
    }
}
