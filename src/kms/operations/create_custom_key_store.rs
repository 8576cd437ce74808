//! `CreateCustomKeyStore`: a new key store, disconnected, once its proxy or cluster has proved to be fit for one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{AccountAction, CustomKeyStoreType, VpcEndpointService, XksProxyConnectivity};
use crate::gate::kms::{Call, NewBacking, NewCustomKeyStore, NewExternal, Refused};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::operations::custom_key_store::{CredentialMember, SecretText, refuse_others, required};
use crate::store::StoreError;

pub(super) struct CreateCustomKeyStore;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    custom_key_store_name: String,
    custom_key_store_type: Option<CustomKeyStoreType>,
    cloud_hsm_cluster_id: Option<String>,
    #[serde(borrow, default)]
    trust_anchor_certificate: Option<Cow<'b, str>>,
    key_store_password: Option<SecretText>,
    xks_proxy_uri_endpoint: Option<String>,
    xks_proxy_uri_path: Option<String>,
    xks_proxy_vpc_endpoint_service_name: Option<String>,
    xks_proxy_vpc_endpoint_service_owner: Option<String>,
    xks_proxy_authentication_credential: Option<CredentialMember>,
    xks_proxy_connectivity: Option<XksProxyConnectivity>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    custom_key_store_id: String,
}

const CLOUD_HSM: &str = "an AWS CloudHSM key store";
const EXTERNAL: &str = "an external key store";
const PUBLIC: &str = "an external key store with the connectivity PUBLIC_ENDPOINT";
const VPC: &str = "an external key store with the connectivity VPC_ENDPOINT_SERVICE";

impl<'b> Operation<'b> for CreateCustomKeyStore {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key_stores = call.custom_key_stores(AccountAction::CreateCustomKeyStore)?;
        let new = request.into_new()?;
        let id = key_stores.create(new).await.map_err(explain)?;
        Ok(Response { custom_key_store_id: id.to_string() })
    }
}

impl Request<'_> {
    fn into_new(self) -> Result<NewCustomKeyStore, Error> {
        let name = self.custom_key_store_name.clone();
        let backing = match self.custom_key_store_type.unwrap_or(CustomKeyStoreType::AwsCloudHsm) {
            CustomKeyStoreType::AwsCloudHsm => self.into_cloud_hsm()?,
            CustomKeyStoreType::ExternalKeyStore => self.into_external()?,
        };
        Ok(NewCustomKeyStore { name, backing })
    }

    fn into_cloud_hsm(self) -> Result<NewBacking, Error> {
        let others = [
            ("XksProxyUriEndpoint", self.xks_proxy_uri_endpoint.is_some()),
            ("XksProxyUriPath", self.xks_proxy_uri_path.is_some()),
            ("XksProxyVpcEndpointServiceName", self.xks_proxy_vpc_endpoint_service_name.is_some()),
            ("XksProxyVpcEndpointServiceOwner", self.xks_proxy_vpc_endpoint_service_owner.is_some()),
            ("XksProxyAuthenticationCredential", self.xks_proxy_authentication_credential.is_some()),
            ("XksProxyConnectivity", self.xks_proxy_connectivity.is_some()),
        ];
        refuse_others(&others, CLOUD_HSM)?;
        let trust_anchor = required(self.trust_anchor_certificate, "TrustAnchorCertificate", CLOUD_HSM)?;
        Ok(NewBacking::CloudHsm {
            cluster_id: required(self.cloud_hsm_cluster_id, "CloudHsmClusterId", CLOUD_HSM)?,
            trust_anchor: trust_anchor.as_ref().into(),
            password: required(self.key_store_password, "KeyStorePassword", CLOUD_HSM)?.into_secret(),
        })
    }

    fn into_external(self) -> Result<NewBacking, Error> {
        let others = [
            ("CloudHsmClusterId", self.cloud_hsm_cluster_id.is_some()),
            ("TrustAnchorCertificate", self.trust_anchor_certificate.is_some()),
            ("KeyStorePassword", self.key_store_password.is_some()),
        ];
        refuse_others(&others, EXTERNAL)?;
        let connectivity = required(self.xks_proxy_connectivity, "XksProxyConnectivity", EXTERNAL)?;
        let (name, owner) =
            (self.xks_proxy_vpc_endpoint_service_name, self.xks_proxy_vpc_endpoint_service_owner);
        let vpc_endpoint_service = match connectivity {
            XksProxyConnectivity::PublicEndpoint => {
                let others = [
                    ("XksProxyVpcEndpointServiceName", name.is_some()),
                    ("XksProxyVpcEndpointServiceOwner", owner.is_some()),
                ];
                refuse_others(&others, PUBLIC)?;
                None
            }
            XksProxyConnectivity::VpcEndpointService => {
                let name = required(name, "XksProxyVpcEndpointServiceName", VPC)?;
                Some(VpcEndpointService { name, owner })
            }
        };
        let credential = self.xks_proxy_authentication_credential;
        Ok(NewBacking::External(NewExternal {
            connectivity,
            uri_endpoint: required(self.xks_proxy_uri_endpoint, "XksProxyUriEndpoint", EXTERNAL)?,
            uri_path: required(self.xks_proxy_uri_path, "XksProxyUriPath", EXTERNAL)?,
            vpc_endpoint_service,
            credential: required(credential, "XksProxyAuthenticationCredential", EXTERNAL)?.into_credential(),
        }))
    }
}

fn explain(refused: Refused) -> Error {
    if refused == Refused::Store(StoreError::LimitExceeded) {
        let text = "The account has as many custom key stores in this Region as it may have.";
        return Error::LimitExceeded(text.to_owned());
    }
    refused.into()
}
