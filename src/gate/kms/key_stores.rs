//! Custom key stores in memory, and what is behind each: a proxy or a cluster.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::RwLock;
use tokio::sync::{Notify, OnceCell};

use crate::domain::kms::{
    CustomKeyStore, CustomKeyStoreId, CustomKeyStoreType, ExternalBacking, KeyAction, KeySpec,
    KeyStoreBacking, Scope,
};
use crate::gate::kms::key_cache::Shelf;
use crate::gate::kms::key_store_refused::{ClusterRefused, KeyStoreRefused};
use crate::gate::kms::key_store_secrets::SecretOf;
use crate::gate::kms::open_key::tracked_name;
use crate::gate::kms::vpc_endpoint_service::DeclaredVpcEndpointService;
use crate::gate::kms::{Kms, Refused};
use crate::key_manager::cluster::{Cluster, Clusters};
use crate::key_manager::xks_proxy::{XksProxies, XksProxy, XksProxyAddress};
use crate::metrics::KeyStoreMetrics;
use crate::secret::SecretBytes;

/// What custom key stores are built on.
pub struct KeyStoreParts {
    pub proxies: Arc<dyn XksProxies>,
    pub clusters: Arc<dyn Clusters>,
    pub metrics: KeyStoreMetrics,
}

#[derive(Clone, Debug)]
pub struct KeyStoreSettings {
    /// AWS KMS Developer Guide, Request quotas: cryptographic operations on keys in one custom key store.
    pub requests_per_second: NonZeroU32,
    /// Exceptions to that, by the id of the key store.
    pub requests_per_second_by_id: BTreeMap<String, NonZeroU32>,
    pub vpc_endpoint_services: Vec<DeclaredVpcEndpointService>,
}

/// Key stores that are kept in memory. A hundred scopes with as many as they may have.
const KNOWN_MAX: usize = 1000;

pub(super) struct KeyStores {
    parts: KeyStoreParts,
    settings: ArcSwap<KeyStoreSettings>,
    known: Shelf<(Scope, CustomKeyStoreId), Arc<KnownKeyStore>>,
    /// Apart from the key stores, so that a change of one does not give it a fresh quota.
    quotas: RwLock<HashMap<CustomKeyStoreId, Arc<DefaultDirectRateLimiter>>>,
    /// A connection is to be made or ended.
    pub(super) transitions: Notify,
}

/// A key store as the store has it, and how to reach what is behind it.
pub(super) struct KnownKeyStore {
    pub(super) store: CustomKeyStore,
    /// Made when it is needed first.
    proxy: OnceCell<Arc<dyn XksProxy>>,
}

impl KeyStores {
    pub(super) fn new(parts: KeyStoreParts, settings: KeyStoreSettings) -> Self {
        Self {
            parts,
            settings: ArcSwap::from_pointee(settings),
            known: Shelf::new(KNOWN_MAX),
            quotas: RwLock::default(),
            transitions: Notify::new(),
        }
    }

    pub(super) const fn parts(&self) -> &KeyStoreParts {
        &self.parts
    }

    pub(super) fn settings(&self) -> arc_swap::Guard<Arc<KeyStoreSettings>> {
        self.settings.load()
    }

    /// Counts a cryptographic operation against the quota of the key store, before anything is sent anywhere.
    pub(super) fn admit(&self, store: &CustomKeyStore, action: KeyAction) -> Result<(), Refused> {
        if self.quota(&store.id).check().is_ok() {
            return Ok(());
        }
        let spec = KeySpec::SymmetricDefault.as_str();
        self.parts.metrics.throttled(store.id.as_str(), tracked_name(action), spec);
        Err(KeyStoreRefused::Throttled.into())
    }

    pub(super) fn forget(&self, scope: &Scope, id: &CustomKeyStoreId) {
        self.known.forget(&(scope.clone(), id.clone()));
    }

    /// Also what is measured of it.
    pub(super) fn forget_deleted(&self, scope: &Scope, id: &CustomKeyStoreId) {
        self.forget(scope, id);
        self.quotas.write().remove(id);
        self.parts.proxies.forget(id.as_str());
    }

    pub(super) fn forget_everything(&self) {
        self.known.clear();
        let ids: Vec<_> = self.quotas.write().drain().map(|(id, _)| id).collect();
        for id in ids {
            self.parts.proxies.forget(id.as_str());
        }
    }

    fn quota(&self, id: &CustomKeyStoreId) -> Arc<DefaultDirectRateLimiter> {
        if let Some(quota) = self.quotas.read().get(id) {
            return Arc::clone(quota);
        }
        let settings = self.settings.load();
        let own = settings.requests_per_second_by_id.get(id.as_str()).copied();
        let quota = Quota::per_second(own.unwrap_or(settings.requests_per_second));
        let mut quotas = self.quotas.write();
        Arc::clone(quotas.entry(id.clone()).or_insert_with(|| Arc::new(RateLimiter::direct(quota))))
    }

    pub(super) fn cluster(&self, id: &str) -> Result<Arc<dyn Cluster>, KeyStoreRefused> {
        let missing = || KeyStoreRefused::Cluster(ClusterRefused::NotFound { cluster_id: id.to_owned() });
        self.parts.clusters.find(id).ok_or_else(missing)
    }

    /// A client for a key store as it is, or as it may become.
    pub(super) fn proxy(
        &self,
        of: SecretOf<'_>,
        backing: &ExternalBacking,
        secret_access_key: SecretBytes,
    ) -> Arc<dyn XksProxy> {
        self.parts.proxies.open(XksProxyAddress {
            custom_key_store_id: of.id.to_string(),
            uri_endpoint: backing.uri_endpoint.clone(),
            uri_path: backing.uri_path.clone(),
            region: of.scope.region.to_string(),
            access_key_id: backing.access_key_id.clone(),
            secret_access_key,
        })
    }

    fn know(&self, store: CustomKeyStore) -> KnownKeyStore {
        if let KeyStoreBacking::External(backing) = &store.backing {
            self.parts.metrics.credential_since(store.id.as_str(), backing.credential_since.0 / 1000);
        }
        KnownKeyStore { proxy: OnceCell::new(), store }
    }
}

impl Kms {
    /// Other quotas and VPC endpoint services, from now on.
    pub fn set_key_store_settings(&self, settings: KeyStoreSettings) {
        self.key_stores.settings.store(Arc::new(settings));
        self.key_stores.quotas.write().clear();
    }

    /// The key store, from memory or from the store.
    pub(super) async fn find_key_store(
        &self,
        scope: &Scope,
        id: &CustomKeyStoreId,
    ) -> Result<Option<Arc<KnownKeyStore>>, Refused> {
        let name = (scope.clone(), id.clone());
        let reading = match self.key_stores.known.find(&name) {
            Ok(known) => return Ok(Some(known)),
            Err(reading) => reading,
        };
        let Some(store) = self.store.custom_key_store(scope, id).await? else { return Ok(None) };
        let known = Arc::new(self.key_stores.know(store));
        self.key_stores.known.keep(reading, name, Arc::clone(&known));
        Ok(Some(known))
    }

    /// The proxy of an external key store.
    pub(super) async fn proxy_of(
        &self,
        known: &KnownKeyStore,
        deadline: Instant,
    ) -> Result<Arc<dyn XksProxy>, Refused> {
        let KeyStoreBacking::External(backing) = &known.store.backing else {
            return Err(KeyStoreRefused::OtherType(CustomKeyStoreType::ExternalKeyStore).into());
        };
        let of = SecretOf::store(&known.store);
        let open = || async {
            let secret = self.open_secret(of, &backing.secret_access_key, deadline).await?;
            Ok::<_, Refused>(self.key_stores.proxy(of, backing, secret))
        };
        known.proxy.get_or_try_init(open).await.map(Arc::clone)
    }

    /// The cluster of a CloudHSM key store.
    pub(super) fn cluster_of(&self, known: &KnownKeyStore) -> Result<Arc<dyn Cluster>, Refused> {
        match &known.store.backing {
            KeyStoreBacking::CloudHsm(backing) => Ok(self.key_stores.cluster(&backing.cluster_id)?),
            KeyStoreBacking::External(_) => {
                Err(KeyStoreRefused::OtherType(CustomKeyStoreType::AwsCloudHsm).into())
            }
        }
    }
}
