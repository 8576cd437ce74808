//! Custom key stores in memory, and what is behind each: a proxy or a cluster.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OnceCell};

use crate::domain::kms::{
    Connection, ConnectionErrorCode, CustomKeyStore, CustomKeyStoreId, CustomKeyStoreType, ExternalBacking,
    KeySpec, KeyStoreBacking, Scope,
};
use crate::gate::kms::key_cache::Shelf;
use crate::gate::kms::key_store_refused::{ClusterRefused, KeyStoreRefused};
use crate::gate::kms::key_store_secrets::SecretOf;
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
    /// Apart from them too, so that a change that is none for a proxy keeps the connections to it.
    clients: Mutex<HashMap<CustomKeyStoreId, Client>>,
    /// Connection attempts that failed, of a revision, while that could not be written down.
    failures: Mutex<HashMap<CustomKeyStoreId, (u64, ConnectionErrorCode)>>,
    /// A connection is to be made or ended.
    pub(super) transitions: Notify,
}

/// How a proxy is reached, and what for.
struct Client {
    backing: ExternalBacking,
    proxy: Arc<dyn XksProxy>,
}

impl Client {
    /// Whether it reaches the proxy that is meant, with the credential that is meant.
    fn is_for(&self, backing: &ExternalBacking) -> bool {
        self.backing.uri_endpoint == backing.uri_endpoint
            && self.backing.uri_path == backing.uri_path
            && self.backing.access_key_id == backing.access_key_id
            && self.backing.secret_access_key == backing.secret_access_key
    }
}

/// A key store as the store has it, and how to reach what is behind it.
pub(super) struct KnownKeyStore {
    pub(super) store: CustomKeyStore,
    /// Made when it is needed first.
    proxy: OnceCell<Arc<dyn XksProxy>>,
}

impl KnownKeyStore {
    /// Of a CloudHSM key store.
    pub(super) fn cluster_id(&self) -> Option<&str> {
        match &self.store.backing {
            KeyStoreBacking::CloudHsm(backing) => Some(&backing.cluster_id),
            KeyStoreBacking::External(_) => None,
        }
    }
}

impl KeyStores {
    pub(super) fn new(parts: KeyStoreParts, settings: KeyStoreSettings) -> Self {
        Self {
            parts,
            settings: ArcSwap::from_pointee(settings),
            known: Shelf::new(KNOWN_MAX),
            quotas: RwLock::default(),
            clients: Mutex::default(),
            failures: Mutex::default(),
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
    pub(super) fn admit(&self, store: &CustomKeyStore, operation: &str) -> Result<(), Refused> {
        if self.quota(store).check().is_ok() {
            return Ok(());
        }
        if store.kind() == CustomKeyStoreType::ExternalKeyStore {
            let spec = KeySpec::SymmetricDefault.as_str();
            self.parts.metrics.throttled(store.id.as_str(), operation, spec);
        }
        Err(KeyStoreRefused::Throttled.into())
    }

    /// Why the connection attempt of this revision failed, if it did and nothing came of it: whoever tried a wrong
    /// password once must not try it again.
    pub(super) fn unwritten_failure(&self, store: &CustomKeyStore) -> Option<ConnectionErrorCode> {
        let failures = self.failures.lock();
        failures.get(&store.id).filter(|(revision, _)| *revision == store.revision).map(|(_, code)| *code)
    }

    pub(super) fn note_failure(&self, store: &CustomKeyStore, code: ConnectionErrorCode) {
        self.failures.lock().insert(store.id.clone(), (store.revision, code));
    }

    /// Ends what connects us with a proxy, and what is measured of it.
    pub(super) fn drop_client(&self, id: &CustomKeyStoreId) {
        self.clients.lock().remove(id);
        self.parts.proxies.forget(id.as_str());
    }

    pub(super) fn forget(&self, scope: &Scope, id: &CustomKeyStoreId) {
        self.known.forget(&(scope.clone(), id.clone()));
    }

    /// Also what is measured of it.
    pub(super) fn forget_deleted(&self, scope: &Scope, id: &CustomKeyStoreId) {
        self.forget(scope, id);
        self.quotas.write().remove(id);
        self.failures.lock().remove(id);
        self.drop_client(id);
    }

    pub(super) fn forget_everything(&self) {
        self.known.clear();
        self.quotas.write().clear();
        self.failures.lock().clear();
        let ids: Vec<_> = self.clients.lock().keys().cloned().collect();
        ids.iter().for_each(|id| self.drop_client(id));
    }

    fn quota(&self, store: &CustomKeyStore) -> Arc<DefaultDirectRateLimiter> {
        let id = &store.id;
        if let Some(quota) = self.quotas.read().get(id) {
            return Arc::clone(quota);
        }
        // With the lock held, since other settings forget the quotas of before.
        let mut quotas = self.quotas.write();
        let rate = self.rate(id);
        if store.kind() == CustomKeyStoreType::ExternalKeyStore {
            self.parts.metrics.quota(id.as_str(), rate.get());
        }
        let quota = Quota::per_second(rate);
        Arc::clone(quotas.entry(id.clone()).or_insert_with(|| Arc::new(RateLimiter::direct(quota))))
    }

    /// Cryptographic requests a second that it admits.
    fn rate(&self, id: &CustomKeyStoreId) -> NonZeroU32 {
        let settings = self.settings.load();
        let own = settings.requests_per_second_by_id.get(id.as_str()).copied();
        own.unwrap_or(settings.requests_per_second)
    }

    pub(super) fn cluster(&self, id: &str) -> Result<Arc<dyn Cluster>, KeyStoreRefused> {
        let missing = || KeyStoreRefused::Cluster(ClusterRefused::NotFound { cluster_id: id.to_owned() });
        self.parts.clusters.find(id).ok_or_else(missing)
    }

    /// A client for a key store as it may become: nothing is measured of what is only tried.
    pub(super) fn trial_proxy(
        &self,
        of: SecretOf<'_>,
        backing: &ExternalBacking,
        secret_access_key: SecretBytes,
    ) -> Arc<dyn XksProxy> {
        self.parts.proxies.open_unmeasured(address(of, backing, secret_access_key))
    }

    fn know(&self, store: CustomKeyStore) -> KnownKeyStore {
        if let KeyStoreBacking::External(backing) = &store.backing
            && store.connection == Connection::Connected
        {
            self.parts.metrics.credential_since(store.id.as_str(), backing.credential_since.0 / 1000);
            self.parts.metrics.quota(store.id.as_str(), self.rate(&store.id).get());
        }
        KnownKeyStore { proxy: OnceCell::new(), store }
    }
}

fn address(of: SecretOf<'_>, backing: &ExternalBacking, secret_access_key: SecretBytes) -> XksProxyAddress {
    XksProxyAddress {
        custom_key_store_id: of.id.to_string(),
        uri_endpoint: backing.uri_endpoint.clone(),
        uri_path: backing.uri_path.clone(),
        region: of.scope.region.to_string(),
        access_key_id: backing.access_key_id.clone(),
        secret_access_key,
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
            let kept = self
                .key_stores
                .clients
                .lock()
                .get(of.id)
                .filter(|client| client.is_for(backing))
                .map(|client| Arc::clone(&client.proxy));
            if let Some(proxy) = kept {
                return Ok(proxy);
            }
            let secret = self.open_secret(of, &backing.secret_access_key, deadline).await?;
            let proxy = self.key_stores.parts.proxies.open(address(of, backing, secret));
            let client = Client { backing: backing.clone(), proxy: Arc::clone(&proxy) };
            self.key_stores.clients.lock().insert(of.id.clone(), client);
            Ok::<_, Refused>(proxy)
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
