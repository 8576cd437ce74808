//! The metrics of the database.

use prometheus::{HistogramTimer, HistogramVec, IntCounterVec};

use crate::metrics::Registrar;

/// What is measured of the database.
#[derive(Clone)]
pub struct StoreMetrics {
    duration: HistogramVec,
    operations: IntCounterVec,
}

impl StoreMetrics {
    pub(super) fn new(make: &mut Registrar) -> prometheus::Result<Self> {
        let duration = make.latencies(
            "store_operation_duration_seconds",
            "Time until the database has answered, the wait for its thread included.",
            &["access"],
        )?;
        for access in ["read", "write"] {
            duration.with_label_values(&[access]);
        }
        Ok(Self {
            duration,
            operations: make.counters(
                "store_operations_total",
                "What the database was asked, by outcome: done, refused (such as a conflict), or failed.",
                &["operation", "outcome"],
            )?,
        })
    }

    /// Observes when it is dropped.
    pub fn time(&self, operation: &'static str, access: &'static str) -> HistogramTimer {
        // From zero on, or an alert on its increase would miss the first.
        self.operations.with_label_values(&[operation, "failed"]);
        self.duration.with_label_values(&[access]).start_timer()
    }

    pub fn count(&self, operation: &'static str, outcome: &'static str) {
        self.operations.with_label_values(&[operation, outcome]).inc();
    }
}
