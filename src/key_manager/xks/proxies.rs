//! Makes clients of proxies, which share trust and clock, and knows what is measured of them.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::key_manager::xks::measured::MeasuredStore;
use crate::key_manager::xks::proxy::Proxy;
use crate::key_manager::xks::trust::Trust;
use crate::key_manager::xks_proxy::{XksProxies, XksProxy, XksProxyAddress};
use crate::metrics::Metrics;

/// Proxies over HTTPS.
pub struct Proxies {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// By custom key store id.
    measured: Mutex<HashMap<String, Arc<MeasuredStore>>>,
}

/// What the clients of all proxies have in common.
pub(super) struct Shared {
    pub(super) trust: ArcSwap<Trust>,
    /// The real one: proxies check signatures by theirs.
    pub(super) clock: Arc<dyn Clock>,
}

impl Proxies {
    pub fn new(trust: Trust, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let trust = ArcSwap::from_pointee(trust);
        Self { shared: Arc::new(Shared { trust, clock }), metrics, measured: Mutex::default() }
    }

    /// From now on, connections are opened by this. If it says something else, those that are open are used no more.
    pub fn set_trust(&self, trust: Trust) {
        if !self.shared.trust.load().is_same(&trust) {
            self.shared.trust.store(Arc::new(trust));
        }
    }

    fn measured(&self, id: &str) -> Arc<MeasuredStore> {
        let make = || Arc::new(MeasuredStore::new(id.to_owned(), Arc::clone(&self.metrics)));
        Arc::clone(self.measured.lock().entry(id.to_owned()).or_insert_with(make))
    }
}

impl XksProxies for Proxies {
    fn open(&self, address: XksProxyAddress) -> Arc<dyn XksProxy> {
        let measured = self.measured(&address.custom_key_store_id);
        Arc::new(Proxy::new(address, Arc::clone(&self.shared), Some(measured)))
    }

    fn open_unmeasured(&self, address: XksProxyAddress) -> Arc<dyn XksProxy> {
        Arc::new(Proxy::new(address, Arc::clone(&self.shared), None))
    }

    fn forget(&self, custom_key_store_id: &str) {
        if let Some(measured) = self.measured.lock().remove(custom_key_store_id) {
            measured.forget();
        }
        self.metrics.forget_external_key_store(custom_key_store_id);
    }
}
