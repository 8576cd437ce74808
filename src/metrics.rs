//! Every metric Holdfast exposes: its name, help text and labels, once.

mod alarms;
mod audit;
mod hsm;
mod store;
mod traces;

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use alarms::{AlarmMetrics, OBJECTIVE_SECONDS};
pub use audit::AuditMetrics;
pub use hsm::{HsmMetrics, ResilienceMetrics};
pub use store::StoreMetrics;
pub use traces::TraceMetrics;

/// Bounds in seconds that resolve 0.1 ms to the 250 ms after which AWS KMS gives up.
const LATENCY_BUCKETS_SECONDS: [f64; 20] = [
    0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.23, 0.25, 0.5,
];

const CUSTOM_KEY_STORE_ID: &str = "custom_key_store_id";

/// All metrics of one daemon. Fields are named after the metrics, without the `holdfast_` prefix.
pub struct Metrics {
    registry: Registry,
    pub xks_requests_total: IntCounterVec,
    pub xks_request_duration_seconds: HistogramVec,
    pub xks_requests_in_flight: IntGauge,
    pub xks_clock_skew_seconds: GaugeVec,
    pub kms_requests_total: IntCounterVec,
    pub kms_request_duration_seconds: HistogramVec,
    pub kms_requests_in_flight: IntGauge,
    pub kms_xks_proxy_duration_seconds: HistogramVec,
    pub kms_xks_proxy_requests_total: IntCounterVec,
    pub kms_xks_proxy_certificate_not_after_timestamp_seconds: IntGaugeVec,
    pub kms_xks_external_key_managers: IntGaugeVec,
    pub kms_xks_proxy_credential_associated_timestamp_seconds: IntGaugeVec,
    pub kms_external_key_store_throttled_total: IntCounterVec,
    pub kms_events_total: IntCounterVec,
    pub kms_events_waiting: IntGaugeVec,
    pub kms_key_material_expiration_timestamp_seconds: IntGaugeVec,
    pub kms_root_key_uses: IntGaugeVec,
    pub sts_requests_total: IntCounterVec,
    pub credential_requests_total: IntCounterVec,
    pub credential_created_timestamp_seconds: IntGaugeVec,
    pub key_store_blocked: IntGaugeVec,
    pub hsm_operation_duration_seconds: HistogramVec,
    pub hsm_queue_wait_seconds: HistogramVec,
    pub hsm_queue_length: IntGaugeVec,
    pub hsm_sessions: IntGaugeVec,
    pub hsm_sessions_stuck: IntGaugeVec,
    pub hsm_state: IntGaugeVec,
    pub hsm_pin_rejected: IntGaugeVec,
    pub hsm_pin_state: IntGaugeVec,
    pub hsm_faults_total: IntCounterVec,
    pub hsm_reinitializations_total: IntCounterVec,
    pub hsm_probe_timestamp_seconds: IntGaugeVec,
    pub hsm_probe_duration_seconds: HistogramVec,
    pub hsm_keys: IntGaugeVec,
    pub hsm_cached_keys: IntGaugeVec,
    pub hsm_unwraps_total: IntCounterVec,
    worker_processes: hsm::WorkerMetrics,
    pub certificate_not_after_timestamp_seconds: IntGaugeVec,
    pub connections_open: IntGaugeVec,
    pub connections_total: IntCounterVec,
    pub connection_failures_total: IntCounterVec,
    pub config_reloads_total: IntCounterVec,
    pub config_last_reload_successful: IntGauge,
    pub config_last_reload_timestamp_seconds: IntGauge,
    pub log_lines_dropped_total: IntCounter,
    pub audit_records_of_strangers_dropped_total: IntCounter,
    pub alarms: AlarmMetrics,
    pub audit: AuditMetrics,
    pub traces: TraceMetrics,
    pub resilience: ResilienceMetrics,
    pub store: StoreMetrics,
    pub build_info: IntGaugeVec,
}

/// Removes what has the id as its label, whatever its other labels are.
fn forget<T: MetricVecBuilder>(metrics: &MetricVec<T>, custom_key_store_id: &str) {
    for metric in metrics.collect().iter().flat_map(|family| family.get_metric()) {
        let labels: HashMap<_, _> =
            metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
        if labels.get(CUSTOM_KEY_STORE_ID) == Some(&custom_key_store_id) {
            // Gone already if another thread was faster.
            let _ = metrics.remove(&labels);
        }
    }
}

/// Registers metrics one by one and remembers the first that could not be.
struct Registrar {
    registry: Registry,
    result: prometheus::Result<()>,
}

impl Registrar {
    fn keep<C: Collector + Clone + 'static>(
        &mut self,
        metric: prometheus::Result<C>,
    ) -> prometheus::Result<C> {
        let metric = metric?;
        let registered = self.registry.register(Box::new(metric.clone()));
        if self.result.is_ok() {
            self.result = registered;
        }
        Ok(metric)
    }

    fn counter(&mut self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.keep(IntCounter::with_opts(opts(name, help)))
    }

    fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.keep(IntGauge::with_opts(opts(name, help)))
    }

    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.keep(IntCounterVec::new(opts(name, help), labels))
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.keep(IntGaugeVec::new(opts(name, help), labels))
    }

    fn latencies(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::from(opts(name, help)).buckets(LATENCY_BUCKETS_SECONDS.to_vec());
        self.keep(HistogramVec::new(opts, labels))
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("holdfast")
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "one table, one row a metric")]
    pub fn new() -> prometheus::Result<Self> {
        let mut make = Registrar { registry: Registry::new(), result: Ok(()) };
        let metrics = Self {
            registry: make.registry.clone(),
            xks_requests_total: make.counters(
                "xks_requests_total",
                "XKS proxy API requests answered, by error name (`none` for success).",
                &["key_store", "operation", "error"],
            )?,
            xks_request_duration_seconds: make.latencies(
                "xks_request_duration_seconds",
                "Time from the request head to the answer.",
                &["key_store", "operation"],
            )?,
            xks_requests_in_flight: make
                .keep(IntGauge::with_opts(opts("xks_requests_in_flight", "Requests being worked on.")))?,
            xks_clock_skew_seconds: make.keep(GaugeVec::new(
                opts("xks_clock_skew_seconds", "X-Amz-Date of the last request minus our clock."),
                &["key_store"],
            ))?,
            kms_requests_total: make.counters(
                "kms_requests_total",
                "KMS API requests answered, by error name (`none` for success).",
                &["operation", "error"],
            )?,
            kms_request_duration_seconds: make.latencies(
                "kms_request_duration_seconds",
                "Time from the request head to the answer.",
                &["operation"],
            )?,
            kms_xks_proxy_duration_seconds: make.latencies(
                "kms_xks_proxy_duration_seconds",
                "Time for the proxy of an external key store to answer, at most 250 ms an attempt.",
                &[CUSTOM_KEY_STORE_ID, "kms_operation", "xks_operation", "key_spec"],
            )?,
            kms_xks_proxy_requests_total: make.counters(
                "kms_xks_proxy_requests_total",
                "Requests to the proxy of an external key store, by exception (`None` for success).",
                &[
                    CUSTOM_KEY_STORE_ID,
                    "kms_operation",
                    "xks_operation",
                    "key_spec",
                    "error_type",
                    "exception_name",
                ],
            )?,
            kms_xks_proxy_certificate_not_after_timestamp_seconds: make.gauges(
                "kms_xks_proxy_certificate_not_after_timestamp_seconds",
                "When the certificate of the proxy of an external key store expires.",
                &[CUSTOM_KEY_STORE_ID, "certificate_name"],
            )?,
            kms_xks_external_key_managers: make.gauges(
                "kms_xks_external_key_managers",
                "External key managers behind the proxy by state: Active, Degraded or Unavailable.",
                &[CUSTOM_KEY_STORE_ID, "state"],
            )?,
            kms_xks_proxy_credential_associated_timestamp_seconds: make.gauges(
                "kms_xks_proxy_credential_associated_timestamp_seconds",
                "When the credential for the proxy was given to the external key store.",
                &[CUSTOM_KEY_STORE_ID],
            )?,
            kms_external_key_store_throttled_total: make.counters(
                "kms_external_key_store_throttled_total",
                "KMS requests refused because their external key store is above its request quota.",
                &[CUSTOM_KEY_STORE_ID, "kms_operation", "key_spec"],
            )?,
            kms_events_total: make.counters(
                "kms_events_total",
                "Lifecycle events of keys: `told`, attempts that `failed`, and `dropped` ones that nobody is told of.",
                &["detail_type", "outcome"],
            )?,
            kms_events_waiting: make.gauges(
                "kms_events_waiting",
                "Lifecycle events of keys that are still to be told.",
                &["detail_type"],
            )?,
            kms_key_material_expiration_timestamp_seconds: make.gauges(
                "kms_key_material_expiration_timestamp_seconds",
                "When imported key material expires.",
                &["key_id"],
            )?,
            kms_root_key_uses: make.gauges(
                "kms_root_key_uses",
                "Key material and secrets under a root key; `former`: still to come under the current one.",
                &["root_key"],
            )?,
            sts_requests_total: make.counters(
                "sts_requests_total",
                "STS API requests answered, by error code (`none` for success).",
                &["operation", "error"],
            )?,
            kms_requests_in_flight: make.keep(IntGauge::with_opts(opts(
                "kms_requests_in_flight",
                "KMS API requests being worked on.",
            )))?,
            credential_requests_total: make.counters(
                "credential_requests_total",
                "Requests whose signature verified, by access key id.",
                &["key_store", "access_key_id"],
            )?,
            credential_created_timestamp_seconds: make.gauges(
                "credential_created_timestamp_seconds",
                "When the credential was made; its age is time() minus this.",
                &["key_store", "access_key_id"],
            )?,
            key_store_blocked: make.gauges(
                "key_store_blocked",
                "1 while the kill switch of the key store is on.",
                &["key_store"],
            )?,
            hsm_operation_duration_seconds: make.latencies(
                "hsm_operation_duration_seconds",
                "Time inside the PKCS#11 library for one job, without the wait for a session.",
                &["hsm", "operation"],
            )?,
            hsm_queue_wait_seconds: make.latencies(
                "hsm_queue_wait_seconds",
                "Time a job waited for a session.",
                &["hsm"],
            )?,
            hsm_queue_length: make.gauges("hsm_queue_length", "Jobs waiting for a session.", &["hsm"])?,
            hsm_sessions: make.gauges("hsm_sessions", "PKCS#11 sessions open for jobs.", &["hsm"])?,
            hsm_sessions_stuck: make.gauges(
                "hsm_sessions_stuck",
                "Sessions inside one PKCS#11 call for longer than 250 ms.",
                &["hsm"],
            )?,
            hsm_state: make.gauges(
                "hsm_state",
                "1 for the state the HSM is in: ACTIVE, DEGRADED or UNAVAILABLE; none while its cluster is disconnected.",
                &["hsm", "state"],
            )?,
            hsm_pin_state: make.gauges(
                "hsm_pin_state",
                "1 for what the token says of the user PIN: fine, to_be_changed, count_low, final_try or locked",
                &["hsm", "state"],
            )?,
            hsm_pin_rejected: make.gauges(
                "hsm_pin_rejected",
                "1 after the HSM refused the PIN; it is not tried again until the PIN changes.",
                &["hsm"],
            )?,
            hsm_faults_total: make.counters(
                "hsm_faults_total",
                "PKCS#11 calls that failed for another reason than the caller's data, by return code.",
                &["hsm", "code"],
            )?,
            hsm_reinitializations_total: make.counters(
                "hsm_reinitializations_total",
                "Times the PKCS#11 library was finalized and initialized again.",
                &["hsm"],
            )?,
            hsm_probe_timestamp_seconds: make.gauges(
                "hsm_probe_timestamp_seconds",
                "When the last health probe succeeded.",
                &["hsm"],
            )?,
            hsm_probe_duration_seconds: make.latencies(
                "hsm_probe_duration_seconds",
                "Time of a health probe: token check, encryption and decryption.",
                &["hsm"],
            )?,
            hsm_keys: make.gauges("hsm_keys", "External keys found in the token.", &["hsm"])?,
            hsm_cached_keys: make.gauges(
                "hsm_cached_keys",
                "KMS keys that the HSM holds unwrapped.",
                &["hsm"],
            )?,
            hsm_unwraps_total: make.counters(
                "hsm_unwraps_total",
                "KMS keys unwrapped because they were not in the HSM.",
                &["hsm"],
            )?,
            worker_processes: hsm::WorkerMetrics::new(&mut make)?,
            certificate_not_after_timestamp_seconds: make.gauges(
                "certificate_not_after_timestamp_seconds",
                "When the server certificate of a listener expires.",
                &["listener"],
            )?,
            connections_open: make.gauges("connections_open", "Open connections.", &["listener"])?,
            connections_total: make.counters("connections_total", "Connections accepted.", &["listener"])?,
            connection_failures_total: make.counters(
                "connection_failures_total",
                "Connections that ended before or instead of a request, by reason.",
                &["listener", "reason"],
            )?,
            config_reloads_total: make.counters(
                "config_reloads_total",
                "Configuration reloads, by result.",
                &["result"],
            )?,
            config_last_reload_successful: make.keep(IntGauge::with_opts(opts(
                "config_last_reload_successful",
                "1 if the last reload was taken, 0 if it was refused and the old configuration is in force.",
            )))?,
            config_last_reload_timestamp_seconds: make.keep(IntGauge::with_opts(opts(
                "config_last_reload_timestamp_seconds",
                "When the configuration in force was loaded.",
            )))?,
            log_lines_dropped_total: make.keep(IntCounter::with_opts(opts(
                "log_lines_dropped_total",
                "Request log lines lost because the log could not be written fast enough.",
            )))?,
            audit_records_of_strangers_dropped_total: make.keep(IntCounter::with_opts(opts(
                "audit_records_of_strangers_dropped_total",
                "KMS API requests without a valid signature that are not in the audit trail: there were too many.",
            )))?,
            alarms: AlarmMetrics::new(&mut make)?,
            audit: AuditMetrics::new(&mut make)?,
            store: StoreMetrics::new(&mut make)?,
            traces: TraceMetrics::new(&mut make)?,
            resilience: ResilienceMetrics::new(&mut make)?,
            build_info: make.gauges("build_info", "1, with the version as a label.", &["version"])?,
        };
        make.result?;
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // From zero on, or an alert on their increase would miss the first.
        for result in ["refused", "taken"] {
            metrics.config_reloads_total.with_label_values(&[result]);
        }
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Adds a collector that reads its values when it is scraped.
    pub fn register(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    /// The Prometheus text exposition format, version 0.0.4.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Removes every series of an external key store.
    pub fn forget_external_key_store(&self, id: &str) {
        forget(&self.kms_xks_proxy_duration_seconds, id);
        forget(&self.kms_xks_proxy_requests_total, id);
        forget(&self.kms_xks_proxy_certificate_not_after_timestamp_seconds, id);
        forget(&self.kms_xks_external_key_managers, id);
        forget(&self.kms_xks_proxy_credential_associated_timestamp_seconds, id);
        forget(&self.kms_external_key_store_throttled_total, id);
        forget(&self.alarms.kms_external_key_store_quota, id);
    }
}

/// What is measured of custom key stores without asking anybody.
#[derive(Clone)]
pub struct KeyStoreMetrics {
    credential_since: IntGaugeVec,
    throttled: IntCounterVec,
    quota: IntGaugeVec,
}

impl KeyStoreMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            credential_since: metrics.kms_xks_proxy_credential_associated_timestamp_seconds.clone(),
            throttled: metrics.kms_external_key_store_throttled_total.clone(),
            quota: metrics.alarms.kms_external_key_store_quota.clone(),
        }
    }

    pub fn credential_since(&self, custom_key_store_id: &str, unix_seconds: i64) {
        self.credential_since.with_label_values(&[custom_key_store_id]).set(unix_seconds);
    }

    /// How many requests a second it admits.
    pub fn quota(&self, custom_key_store_id: &str, per_second: u32) {
        self.quota.with_label_values(&[custom_key_store_id]).set(per_second.into());
    }

    pub fn throttled(&self, custom_key_store_id: &str, kms_operation: &str, key_spec: &str) {
        self.throttled.with_label_values(&[custom_key_store_id, kms_operation, key_spec]).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::Metrics;

    /// Names in backticks.
    fn names(cell: &str) -> BTreeSet<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_metrics_of_external_key_stores_have_the_documented_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.kms_xks_proxy_duration_seconds.with_label_values(&[""; 4]).observe(0.1);
        metrics.kms_xks_proxy_requests_total.with_label_values(&[""; 6]).inc();
        metrics.kms_external_key_store_throttled_total.with_label_values(&[""; 3]).inc();
        for (gauges, labels) in [
            (&metrics.kms_xks_proxy_certificate_not_after_timestamp_seconds, 2),
            (&metrics.kms_xks_external_key_managers, 2),
            (&metrics.alarms.kms_external_key_store_quota, 1),
            (&metrics.kms_xks_proxy_credential_associated_timestamp_seconds, 1),
            (&metrics.kms_key_material_expiration_timestamp_seconds, 1),
        ] {
            gauges.with_label_values(&vec![""; labels]).set(1);
        }
        let (_, document) =
            include_str!("../docs/reference/metrics.md").split_once("## External key stores").unwrap();
        let rows = document.lines().filter(|line| line.contains("| `holdfast_"));
        let documented: BTreeMap<_, _> = rows
            .map(|line| {
                let cells: Vec<_> = line.split('|').collect();
                (names(cells[2]).pop_first().unwrap(), (cells[3].trim().to_uppercase(), names(cells[4])))
            })
            .collect();
        let families = metrics.registry.gather();
        let found: BTreeMap<_, _> = families
            .iter()
            .filter(|family| documented.contains_key(family.name()))
            .map(|family| {
                let labels = family.get_metric()[0].get_label().iter();
                let labels: BTreeSet<_> = labels.map(|label| label.name().to_owned()).collect();
                (family.name().to_owned(), (format!("{:?}", family.get_field_type()), labels))
            })
            .collect();
        assert_eq!(found, documented);
        assert_eq!(found.len(), 8);
    }
}
