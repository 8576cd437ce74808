//! The metrics of the audit trail.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::{LATENCY_BUCKETS_SECONDS, Registrar, opts};

/// What is measured of the audit trail.
#[derive(Clone)]
pub struct AuditMetrics {
    pub records: IntCounter,
    pub records_dropped: IntCounter,
    pub sink_lines_dropped: IntCounterVec,
    pub buffered_bytes: IntGauge,
    pub free_bytes: IntGauge,
    pub is_failing: IntGauge,
    pub checkpoint_timestamp: IntGauge,
    pub sync_duration: Histogram,
}

/// Where lines go besides the file.
const SINKS: [&str; 2] = ["stdout", "syslog"];

impl AuditMetrics {
    pub(super) fn new(make: &mut Registrar) -> prometheus::Result<Self> {
        let sync = HistogramOpts::from(opts(
            "audit_sync_duration_seconds",
            "Time until the disk has what was written of the audit trail.",
        ));
        let sink_lines_dropped = make.counters(
            "audit_sink_lines_dropped_total",
            "Lines of the audit trail that did not get to standard output or syslog.",
            &["sink"],
        )?;
        // Shown before the first is lost, so that a rise from nothing is seen.
        for sink in SINKS {
            sink_lines_dropped.with_label_values(&[sink]);
        }
        Ok(Self {
            records: make.counter("audit_records_total", "Records written to the audit trail.")?,
            records_dropped: make.counter(
                "audit_records_dropped_total",
                "Records given up because the audit trail could not be written.",
            )?,
            sink_lines_dropped,
            buffered_bytes: make.gauge("audit_buffered_bytes", "Records that wait to be written.")?,
            free_bytes: make.gauge("audit_free_bytes", "Free space on the disk of the audit trail.")?,
            is_failing: make.gauge("audit_failing", "1 while the audit trail cannot be written.")?,
            checkpoint_timestamp: make.gauge(
                "audit_checkpoint_timestamp_seconds",
                "When the audit trail was signed up to its end last.",
            )?,
            sync_duration: make.keep(Histogram::with_opts(sync.buckets(LATENCY_BUCKETS_SECONDS.to_vec())))?,
        })
    }
}
