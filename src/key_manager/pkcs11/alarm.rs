//! The alarm of an HSM: somebody saw a fault, so the next probe should not wait.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Alarm {
    raised: Notify,
    keys_changed: AtomicBool,
}

impl Alarm {
    pub(super) fn raise(&self) {
        self.raised.notify_one();
    }

    /// The keys in the token are others than are known.
    pub(super) fn raise_for_keys(&self) {
        self.keys_changed.store(true, Ordering::Release);
        self.raise();
    }

    /// The keys are others, and whoever says so sees to the rest.
    pub(super) fn note_keys_changed(&self) {
        self.keys_changed.store(true, Ordering::Release);
    }

    /// Whether it was raised for keys since the last call.
    pub(super) fn take_keys_changed(&self) -> bool {
        self.keys_changed.swap(false, Ordering::AcqRel)
    }

    /// Completes when it was raised since the last call.
    pub(super) async fn raised(&self) {
        self.raised.notified().await;
    }
}
