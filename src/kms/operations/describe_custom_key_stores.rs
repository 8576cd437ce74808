//! `DescribeCustomKeyStores`: all custom key stores of the account and Region, or one; never their secrets.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{
    AccountAction, ConnectionErrorCode, ConnectionState, CustomKeyStore, CustomKeyStoreId,
    CustomKeyStoreType, ExternalBacking, KeyStoreBacking, UnixMillis, XksProxyConnectivity,
};
use crate::gate::kms::{Call, KeyStoreRefused};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};

const PAGE_LIMITS: PageLimits = PageLimits { usual: 100, max: 1000 };

pub(super) struct DescribeCustomKeyStores;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow, default)]
    custom_key_store_id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    custom_key_store_name: Option<Cow<'b, str>>,
    limit: Option<usize>,
    #[serde(borrow, default)]
    marker: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    custom_key_stores: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl<'b> Operation<'b> for DescribeCustomKeyStores {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key_stores = call.custom_key_stores(AccountAction::DescribeCustomKeyStores)?;
        let stores = key_stores.list().await?;
        let (id, name) = (request.custom_key_store_id, request.custom_key_store_name);
        if id.is_some() && name.is_some() {
            return Err(Error::validation(
                "You can specify CustomKeyStoreId or CustomKeyStoreName, but not both.",
            ));
        }
        if let Some(named) = id.as_deref().or(name.as_deref()) {
            let is_named =
                |store: &CustomKeyStore| if id.is_some() { store.id.as_str() } else { &store.name } == named;
            let found = stores.into_iter().find(is_named);
            let found = found.ok_or_else(|| KeyStoreRefused::Missing { named: named.to_owned() })?;
            let custom_key_stores = vec![Entry::of(found)];
            return Ok(Response { custom_key_stores, next_marker: None, truncated: false });
        }
        let page = PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker };
        let page = Page::new(call, &["DescribeCustomKeyStores"], page);
        let after = page.after(CustomKeyStoreId::parse)?;
        let rest = stores.into_iter().filter(|store| after.as_ref().is_none_or(|after| store.id > *after));
        let (stores, next_marker) = page.cut(rest.collect(), |store: &CustomKeyStore| store.id.to_string());
        Ok(Response {
            custom_key_stores: stores.into_iter().map(Entry::of).collect(),
            truncated: next_marker.is_some(),
            next_marker,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    custom_key_store_id: String,
    custom_key_store_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_hsm_cluster_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_anchor_certificate: Option<String>,
    connection_state: ConnectionState,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_error_code: Option<ConnectionErrorCode>,
    creation_date: UnixMillis,
    custom_key_store_type: CustomKeyStoreType,
    #[serde(skip_serializing_if = "Option::is_none")]
    xks_proxy_configuration: Option<XksProxyConfiguration>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct XksProxyConfiguration {
    connectivity: XksProxyConnectivity,
    access_key_id: String,
    uri_endpoint: String,
    uri_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_endpoint_service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_endpoint_service_owner: Option<String>,
}

impl Entry {
    fn of(store: CustomKeyStore) -> Self {
        let custom_key_store_type = store.kind();
        let (cluster, external) = match store.backing {
            KeyStoreBacking::CloudHsm(backing) => (Some(backing), None),
            KeyStoreBacking::External(backing) => (None, Some(XksProxyConfiguration::of(backing))),
        };
        Self {
            custom_key_store_id: store.id.to_string(),
            custom_key_store_name: store.name,
            trust_anchor_certificate: cluster.as_ref().map(|backing| backing.trust_anchor.to_string()),
            cloud_hsm_cluster_id: cluster.map(|backing| backing.cluster_id),
            connection_state: store.connection.state(),
            connection_error_code: store.connection.error_code(),
            creation_date: store.created,
            custom_key_store_type,
            xks_proxy_configuration: external,
        }
    }
}

impl XksProxyConfiguration {
    fn of(backing: ExternalBacking) -> Self {
        let (name, owner) =
            backing.vpc_endpoint_service.map_or((None, None), |service| (Some(service.name), service.owner));
        Self {
            connectivity: backing.connectivity,
            access_key_id: backing.access_key_id,
            uri_endpoint: backing.uri_endpoint,
            uri_path: backing.uri_path,
            vpc_endpoint_service_name: name,
            vpc_endpoint_service_owner: owner,
        }
    }
}
