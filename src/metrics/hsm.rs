//! The metrics of HSMs.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::{Metrics, Registrar};

const HEDGE_OUTCOMES: [&str; 4] = ["failed", "lost", "refused", "won"];
const REFUSAL_REASONS: [&str; 5] =
    ["all_sessions_hang", "cannot_finish", "no_worker", "quarantined", "queue_full"];
const RESTART_REASONS: [&str; 6] = ["exit", "hang", "memory", "protocol", "signal", "start"];

/// How HSMs are taken out and stood in for.
#[derive(Clone)]
pub struct ResilienceMetrics {
    breaker: IntGaugeVec,
    corruptions: IntCounterVec,
    evictions: IntCounterVec,
    hedges: IntCounterVec,
    refusals: IntCounterVec,
}

impl ResilienceMetrics {
    pub(super) fn new(make: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            breaker: make.gauges(
                "hsm_breaker_state",
                "1 for the state of the circuit breaker: closed, half_open, open or quarantined.",
                &["hsm", "state"],
            )?,
            corruptions: make.counters(
                "hsm_corruptions_total",
                "Ciphertexts of the HSM that did not decrypt to what was encrypted.",
                &["hsm"],
            )?,
            evictions: make.counters(
                "hsm_evictions_total",
                "Requests that went on to another HSM because this one was taken out while they waited for it.",
                &["hsm"],
            )?,
            hedges: make.counters(
                "hsm_hedges_total",
                "Requests asked of another HSM too because this one took long: won, lost or failed by the other, or refused because too many were.",
                &["hsm", "outcome"],
            )?,
            refusals: make.counters(
                "hsm_refusals_total",
                "Jobs that the HSM was not given: queue_full, cannot_finish in time, all_sessions_hang, no_worker process, or quarantined.",
                &["hsm", "reason"],
            )?,
        })
    }
}

/// The processes that PKCS#11 libraries are in.
#[derive(Clone)]
pub(super) struct WorkerMetrics {
    process: IntGaugeVec,
    memory: IntGaugeVec,
    restarts: IntCounterVec,
}

impl WorkerMetrics {
    pub(super) fn new(make: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            process: make.gauges(
                "hsm_worker_process",
                "Process id of the worker process that has the PKCS#11 library; 0 without one.",
                &["hsm"],
            )?,
            memory: make.gauges(
                "hsm_worker_memory_bytes",
                "Resident memory of the worker process.",
                &["hsm"],
            )?,
            restarts: make.counters(
                "hsm_worker_restarts_total",
                "Worker processes that another one took the place of: exit, hang, memory, protocol, signal, or start if it came to nothing.",
                &["hsm", "reason"],
            )?,
        })
    }
}

impl Metrics {
    pub fn hsm(&self, name: &str) -> HsmMetrics {
        let hsm = [name];
        // A rise from nothing is a rise only if there was a zero before.
        for outcome in HEDGE_OUTCOMES {
            self.resilience.hedges.with_label_values(&[name, outcome]);
        }
        for reason in REFUSAL_REASONS {
            self.resilience.refusals.with_label_values(&[name, reason]);
        }
        HsmMetrics {
            encrypt: self.hsm_operation_duration_seconds.with_label_values(&[name, "encrypt"]),
            decrypt: self.hsm_operation_duration_seconds.with_label_values(&[name, "decrypt"]),
            queue_wait: self.hsm_queue_wait_seconds.with_label_values(&hsm),
            sessions: self.hsm_sessions.with_label_values(&hsm),
            sessions_stuck: self.hsm_sessions_stuck.with_label_values(&hsm),
            queue_length: self.hsm_queue_length.with_label_values(&hsm),
            pin_rejected: self.hsm_pin_rejected.with_label_values(&hsm),
            reinitializations: self.hsm_reinitializations_total.with_label_values(&hsm),
            probe_timestamp: self.hsm_probe_timestamp_seconds.with_label_values(&hsm),
            probe_duration: self.hsm_probe_duration_seconds.with_label_values(&hsm),
            keys: self.hsm_keys.with_label_values(&hsm),
            cached_keys: self.hsm_cached_keys.with_label_values(&hsm),
            unwraps: self.hsm_unwraps_total.with_label_values(&hsm),
            evictions: self.resilience.evictions.with_label_values(&hsm),
            corruptions: self.resilience.corruptions.with_label_values(&hsm),
            operations: self.hsm_operation_duration_seconds.clone(),
            faults: self.hsm_faults_total.clone(),
            state: self.hsm_state.clone(),
            pin_state: self.hsm_pin_state.clone(),
            resilience: self.resilience.clone(),
            workers: self.worker_processes.clone(),
            name: name.to_owned(),
        }
    }
}

/// The metrics of one HSM, looked up once.
pub struct HsmMetrics {
    pub encrypt: Histogram,
    pub decrypt: Histogram,
    pub queue_wait: Histogram,
    pub sessions: IntGauge,
    pub sessions_stuck: IntGauge,
    pub queue_length: IntGauge,
    pub pin_rejected: IntGauge,
    pub reinitializations: IntCounter,
    pub probe_timestamp: IntGauge,
    pub probe_duration: Histogram,
    pub keys: IntGauge,
    pub cached_keys: IntGauge,
    pub unwraps: IntCounter,
    /// Requests that went on to another HSM because this one was taken out.
    pub evictions: IntCounter,
    pub corruptions: IntCounter,
    operations: HistogramVec,
    faults: IntCounterVec,
    state: IntGaugeVec,
    pin_state: IntGaugeVec,
    resilience: ResilienceMetrics,
    workers: WorkerMetrics,
    name: String,
}

impl HsmMetrics {
    /// `code` is a PKCS#11 return code name or number, so the label stays bounded.
    pub fn fault(&self, code: &str) {
        self.faults.with_label_values(&[self.name.as_str(), code]).inc();
    }

    /// Faults that somebody else has counted.
    pub fn add_faults(&self, code: &str, count: u64) {
        if count > 0 {
            self.faults.with_label_values(&[self.name.as_str(), code]).inc_by(count);
        }
    }

    /// Every fault so far, by code.
    pub fn fault_counts(&self) -> Vec<(String, u64)> {
        let families = self.faults.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        let code_of = |metric: &prometheus::proto::Metric| {
            let label = |name: &str| metric.get_label().iter().find(|label| label.name() == name);
            let is_ours = label("hsm").is_some_and(|label| label.value() == self.name);
            is_ours.then(|| label("code").map(|label| label.value().to_owned())).flatten()
        };
        let counts = metrics.filter_map(|metric| {
            let code = code_of(metric)?;
            let count = self.faults.with_label_values(&[self.name.as_str(), code.as_str()]).get();
            Some((code, count))
        });
        counts.collect()
    }

    /// Which of these the token says of the user PIN, if it has said anything.
    pub fn shown_pin_state(&self, all: [&str; 5]) -> Option<usize> {
        all.iter().position(|state| self.pin_state.with_label_values(&[self.name.as_str(), state]).get() != 0)
    }

    /// The worker process, or that there is none.
    pub fn set_worker(&self, pid: Option<u32>, resident_bytes: u64) {
        let hsm = [self.name.as_str()];
        for reason in RESTART_REASONS {
            self.workers.restarts.with_label_values(&[self.name.as_str(), reason]);
        }
        self.workers.process.with_label_values(&hsm).set(pid.unwrap_or_default().into());
        let bytes = i64::try_from(resident_bytes).unwrap_or(i64::MAX);
        self.workers.memory.with_label_values(&hsm).set(bytes);
    }

    /// A worker process was replaced.
    pub fn restart(&self, reason: &'static str) {
        self.workers.restarts.with_label_values(&[self.name.as_str(), reason]).inc();
    }

    /// An operation on a KMS key. Its series begin with the first, so that a key store alone does not show them.
    pub fn observe_operation(&self, operation: &'static str, seconds: f64) {
        self.operations.with_label_values(&[self.name.as_str(), operation]).observe(seconds);
    }

    /// What became of asking another HSM because this one took long.
    pub fn hedge(&self, outcome: &'static str) {
        self.resilience.hedges.with_label_values(&[self.name.as_str(), outcome]).inc();
    }

    /// A request was not let in.
    pub fn refusal(&self, reason: &'static str) {
        self.resilience.refusals.with_label_values(&[self.name.as_str(), reason]).inc();
    }

    pub fn set_breaker(&self, current: &str, all: [&str; 4]) {
        for state in all {
            let gauge = self.resilience.breaker.with_label_values(&[self.name.as_str(), state]);
            gauge.set(i64::from(state == current));
        }
    }

    /// What the token says of the user PIN.
    pub fn set_pin_state(&self, current: &str, all: [&str; 5]) {
        for state in all {
            self.pin_state.with_label_values(&[self.name.as_str(), state]).set(i64::from(state == current));
        }
    }

    /// Nothing: it is in none of them.
    pub fn set_state(&self, current: Option<&str>, all: [&str; 3]) {
        for state in all {
            self.state.with_label_values(&[self.name.as_str(), state]).set(i64::from(Some(state) == current));
        }
    }
}
