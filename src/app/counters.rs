//! Gives the counters of a listener their metric names.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::http::{Counters, HandshakeFailure, TimeOut};
use crate::metrics::Metrics;

/// The metrics of one listener.
pub(super) struct ListenerCounters {
    name: String,
    open: IntGauge,
    total: IntCounter,
    failures: IntCounterVec,
}

impl ListenerCounters {
    pub(super) fn new(metrics: &Metrics, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            open: metrics.connections_open.with_label_values(&[name]),
            total: metrics.connections_total.with_label_values(&[name]),
            failures: metrics.connection_failures_total.clone(),
        }
    }

    fn fail(&self, reason: &str) {
        self.failures.with_label_values(&[self.name.as_str(), reason]).inc();
    }
}

impl Counters for ListenerCounters {
    fn accept_failed(&self) {
        self.fail("accept_failed");
    }

    fn connection_closed(&self) {
        self.open.dec();
    }

    fn connection_opened(&self) {
        self.open.inc();
        self.total.inc();
    }

    fn connections_exhausted(&self) {
        self.fail("connections_exhausted");
    }

    fn handshake_failed(&self, failure: HandshakeFailure) {
        self.fail(failure.as_str());
    }

    fn responder_panicked(&self) {
        self.fail("responder_panicked");
    }

    fn timed_out(&self, what: TimeOut) {
        if what != TimeOut::Idle {
            self.fail(match what {
                TimeOut::Body => "body_timed_out",
                TimeOut::Head => "head_timed_out",
                TimeOut::Idle => "idle",
                TimeOut::Response => "response_timed_out",
            });
        }
    }
}
