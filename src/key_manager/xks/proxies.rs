//! Makes clients of proxies, which share trust, clock and metrics.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::key_manager::xks::certificate::ProxyCertificate;
use crate::key_manager::xks::observation;
use crate::key_manager::xks::proxy::Proxy;
use crate::key_manager::xks::trust::Trust;
use crate::key_manager::xks_proxy::{XksProxies, XksProxy, XksProxyAddress};
use crate::metrics::Metrics;

/// Proxies over HTTPS.
pub struct Proxies(Arc<Shared>);

/// What the clients of all proxies have in common.
pub(super) struct Shared {
    pub(super) trust: ArcSwap<Trust>,
    /// The real one: proxies check signatures by theirs.
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// The certificates that the metrics show, by custom key store id.
    certificates: Mutex<HashMap<String, ProxyCertificate>>,
}

impl Proxies {
    pub fn new(trust: Trust, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let trust = ArcSwap::from_pointee(trust);
        Self(Arc::new(Shared { trust, clock, metrics, certificates: Mutex::default() }))
    }

    /// From now on, connections are opened by this. If it says something else, those that are open are used no more.
    pub fn set_trust(&self, trust: Trust) {
        if !self.0.trust.load().is_same(&trust) {
            self.0.trust.store(Arc::new(trust));
        }
    }
}

impl XksProxies for Proxies {
    fn open(&self, address: XksProxyAddress) -> Arc<dyn XksProxy> {
        Arc::new(Proxy::new(address, Arc::clone(&self.0)))
    }

    fn forget(&self, custom_key_store_id: &str) {
        self.0.certificates.lock().remove(custom_key_store_id);
        self.0.metrics.forget_external_key_store(custom_key_store_id);
    }
}

impl Shared {
    /// Takes notice of what the proxy of this key store showed.
    pub(super) fn show_certificate(&self, custom_key_store_id: &str, der: &[u8]) {
        let Some(present) = ProxyCertificate::read(der) else { return };
        let mut certificates = self.certificates.lock();
        let former = certificates.get(custom_key_store_id);
        observation::show_certificate(&self.metrics, custom_key_store_id, (former, &present));
        certificates.insert(custom_key_store_id.to_owned(), present);
    }
}
