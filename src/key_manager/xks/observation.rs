//! What is counted of requests to proxies: the metrics that AWS KMS has of external key stores.

use std::time::Duration;

use proxy_api::wire::Operation;

use crate::key_manager::xks::certificate::ProxyCertificate;
use crate::key_manager::xks_proxy::{FleetHealth, ProxyFailure};
use crate::metrics::Metrics;

/// The one key spec of external keys.
const KEY_SPEC: &str = "SYMMETRIC_DEFAULT";
/// What AWS KMS calls it inside when it could not talk with a proxy; no proxy answers it.
const UNREACHABLE: &str = "XksProxyUnreachableException";
/// What AWS KMS answers to who creates or updates a key store whose proxy does not keep to the API.
const MALFORMED: &str = "XksProxyInvalidResponseException";

/// One request to a proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<'a> {
    pub(super) kms_operation: &'a str,
    pub(super) operation: Operation,
    pub(super) failure: Option<&'a ProxyFailure>,
    pub(super) took: Duration,
}

impl Observation<'_> {
    /// Counts the request, whatever came of it.
    pub(super) fn record(self, metrics: &Metrics, custom_key_store_id: &str) {
        let Self { kms_operation, operation, failure, took } = self;
        let key_spec = match operation {
            Operation::GetHealthStatus => "",
            Operation::Decrypt | Operation::Encrypt | Operation::GetKeyMetadata => KEY_SPEC,
        };
        let labels = [custom_key_store_id, kms_operation, operation.name(), key_spec];
        metrics.kms_xks_proxy_duration_seconds.with_label_values(&labels).observe(took.as_secs_f64());
        let (error_type, exception_name) = failure.map_or(("N/A", "None"), classify);
        let [store, kms_operation, xks_operation, key_spec] = labels;
        let labels = [store, kms_operation, xks_operation, key_spec, error_type, exception_name];
        metrics.kms_xks_proxy_requests_total.with_label_values(&labels).inc();
    }
}

/// `ErrorType` and `ExceptionName` of XksProxyErrors.
pub(super) fn classify(failure: &ProxyFailure) -> (&'static str, &'static str) {
    let error_type = |is_retryable| if is_retryable { "Retryable" } else { "Non-retryable" };
    match failure {
        ProxyFailure::AnswerTimedOut | ProxyFailure::Tls(_) | ProxyFailure::Unreachable(_) => {
            (error_type(true), UNREACHABLE)
        }
        ProxyFailure::Malformed(_) => (error_type(false), MALFORMED),
        ProxyFailure::Refused { error, .. } => (error_type(error.is_retryable()), error.wire().1),
    }
}

/// Shows how many key managers are in which state.
pub(super) fn show_fleet(metrics: &Metrics, custom_key_store_id: &str, fleet: FleetHealth) {
    let FleetHealth { active, degraded, unavailable } = fleet;
    for (state, count) in [("Active", active), ("Degraded", degraded), ("Unavailable", unavailable)] {
        let gauge = metrics.kms_xks_external_key_managers.with_label_values(&[custom_key_store_id, state]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Shows when the certificate ends, in place of the one that was shown before.
pub(super) fn show_certificate(
    metrics: &Metrics,
    custom_key_store_id: &str,
    (former, present): (Option<&ProxyCertificate>, &ProxyCertificate),
) {
    let gauges = &metrics.kms_xks_proxy_certificate_not_after_timestamp_seconds;
    if let Some(former) = former.filter(|former| former.name != present.name) {
        // Gone already if the key store was forgotten.
        let _ = gauges.remove_label_values(&[custom_key_store_id, &former.name]);
    }
    gauges.with_label_values(&[custom_key_store_id, &present.name]).set(present.not_after_unix_seconds);
}
