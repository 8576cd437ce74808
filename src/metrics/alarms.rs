//! Metrics that are there for alerts: readiness, the objective of 250 ms, quotas, what becomes of keys, the disk.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::{CUSTOM_KEY_STORE_ID, Registrar, opts};

/// Within so many seconds a request is answered, or AWS KMS has given up.
pub const OBJECTIVE_SECONDS: f64 = 0.25;

/// Whose quota of the KMS API it is.
const QUOTA: [&str; 3] = ["quota", "account", "region"];

/// What alerts need to know.
#[derive(Clone)]
pub struct AlarmMetrics {
    pub ready: IntGauge,
    pub state_free_bytes: IntGauge,
    pub xks_requests_within_objective_total: IntCounterVec,
    pub xks_key_store_quota: IntGaugeVec,
    pub kms_requests_within_objective_total: IntCounterVec,
    pub kms_external_key_store_quota: IntGaugeVec,
    kms_key_state_refusals_total: IntCounterVec,
    kms_key_lifecycle_total: IntCounterVec,
    kms_quota: GaugeVec,
    kms_quota_requests_total: IntCounterVec,
}

impl AlarmMetrics {
    pub(super) fn new(make: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            ready: make.gauge("ready", "1 while everything configured can serve, as /readyz says.")?,
            state_free_bytes: make.gauge(
                "state_free_bytes",
                "Free space on the disk of state_dir, where database, counts and blocks are.",
            )?,
            xks_requests_within_objective_total: make.counters(
                "xks_requests_within_objective_total",
                "XKS proxy API requests answered within 250 ms and without an error of the server or its HSMs.",
                &["key_store"],
            )?,
            xks_key_store_quota: make.gauges(
                "xks_key_store_quota_requests_per_second",
                "Requests a second that the key store admits; absent without a quota.",
                &["key_store"],
            )?,
            kms_requests_within_objective_total: make.counters(
                "kms_requests_within_objective_total",
                "KMS API requests that ended within 250 ms and without an error of the server or its HSMs.",
                &["operation"],
            )?,
            kms_external_key_store_quota: make.gauges(
                "kms_external_key_store_quota_requests_per_second",
                "Cryptographic requests a second that the external key store admits.",
                &[CUSTOM_KEY_STORE_ID],
            )?,
            kms_key_state_refusals_total: make.counters(
                "kms_key_state_refusals_total",
                "Cryptographic operations refused for the state of the key, such as pending_deletion.",
                &["reason"],
            )?,
            kms_key_lifecycle_total: make.counters(
                "kms_key_lifecycle_total",
                "Keys rotated or deleted and imported material expired, whether or not anybody is told of it.",
                &["detail_type"],
            )?,
            kms_quota: make.keep(GaugeVec::new(
                opts("kms_quota_requests_per_second", "Requests a second that the quota of the KMS API admits."),
                &QUOTA,
            ))?,
            kms_quota_requests_total: make.counters(
                "kms_quota_requests_total",
                "Requests that count against the quota of the KMS API, those above it included.",
                &QUOTA,
            )?,
        })
    }

    /// Shown before the first, so that a rise from nothing is seen.
    pub fn show_refusals<'r>(&self, reasons: impl IntoIterator<Item = &'r str>) {
        for reason in reasons {
            self.kms_key_state_refusals_total.with_label_values(&[reason]);
        }
    }

    pub fn refused_for_state(&self, reason: &str) {
        self.kms_key_state_refusals_total.with_label_values(&[reason]).inc();
    }

    /// As above.
    pub fn show_lifecycle<'d>(&self, detail_types: impl IntoIterator<Item = &'d str>) {
        for detail_type in detail_types {
            self.kms_key_lifecycle_total.with_label_values(&[detail_type]);
        }
    }

    pub fn happened_to_key(&self, detail_type: &str) {
        self.kms_key_lifecycle_total.with_label_values(&[detail_type]).inc();
    }

    /// Shows the quota, and what counts against it.
    pub fn quota(&self, quota: &str, (account, region): (&str, &str), per_second: f64) -> IntCounter {
        let labels = [quota, account, region];
        self.kms_quota.with_label_values(&labels).set(per_second);
        self.kms_quota_requests_total.with_label_values(&labels)
    }
}
