//! What is measured of one key store, until it is forgotten.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::key_manager::xks::certificate::ProxyCertificate;
use crate::key_manager::xks::observation;
use crate::metrics::Metrics;

/// Shared by the clients that were opened for a key store since it was last forgotten.
pub(super) struct MeasuredStore {
    custom_key_store_id: String,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

enum State {
    /// Requests may still be on their way; what comes of them must not bring back what was removed.
    Forgotten,
    /// With the certificate that the metrics show.
    Known(Option<ProxyCertificate>),
}

impl MeasuredStore {
    pub(super) fn new(custom_key_store_id: String, metrics: Arc<Metrics>) -> Self {
        Self { custom_key_store_id, metrics, state: Mutex::new(State::Known(None)) }
    }

    /// Has it noted under the id, unless the key store was forgotten.
    pub(super) fn note(&self, note: impl FnOnce(&Metrics, &str)) {
        // The lock is held until it is noted, lest the key store be forgotten in between.
        if let State::Known(_) = &*self.state.lock() {
            note(&self.metrics, &self.custom_key_store_id);
        }
    }

    /// Takes notice of what the proxy showed.
    pub(super) fn note_certificate(&self, der: &[u8]) {
        let Some(present) = ProxyCertificate::read(der) else { return };
        if let State::Known(shown) = &mut *self.state.lock() {
            let certificates = (shown.as_ref(), &present);
            observation::show_certificate(&self.metrics, &self.custom_key_store_id, certificates);
            *shown = Some(present);
        }
    }

    /// From now on nothing is noted. What was is for the caller to remove.
    pub(super) fn forget(&self) {
        *self.state.lock() = State::Forgotten;
    }
}
