//! The metrics of spans on their way to a collector.

use prometheus::IntCounter;

use crate::metrics::Registrar;

/// What becomes of spans.
#[derive(Clone)]
pub struct TraceMetrics {
    pub made: IntCounter,
    pub sent: IntCounter,
    pub failed: IntCounter,
}

impl TraceMetrics {
    pub(super) fn new(make: &mut Registrar) -> prometheus::Result<Self> {
        let help = "Spans of requests that were made, sent to the collector, or not taken by it.";
        let spans = make.counters("traces_spans_total", help, &["outcome"])?;
        let of = |outcome| spans.with_label_values(&[outcome]);
        Ok(Self { made: of("made"), sent: of("sent"), failed: of("failed") })
    }
}
