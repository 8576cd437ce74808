//! Counts what becomes of spans, and logs when the collector goes and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use prometheus::IntCounter;

use crate::metrics::TraceMetrics;

/// Counts what is sent, and what the collector did not take.
#[derive(Debug)]
pub(super) struct CountedExporter {
    inner: OtlpExporter,
    sent: IntCounter,
    failed: IntCounter,
    is_failing: AtomicBool,
}

impl CountedExporter {
    pub(super) fn new(inner: OtlpExporter, metrics: &TraceMetrics) -> Self {
        let (sent, failed) = (metrics.sent.clone(), metrics.failed.clone());
        Self { inner, sent, failed, is_failing: AtomicBool::new(false) }
    }
}

impl SpanExporter for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let result = self.inner.export(batch).await;
        match &result {
            Ok(()) => {
                self.sent.inc_by(spans);
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector of traces takes spans again");
                }
            }
            Err(error) => {
                self.failed.inc_by(spans);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason = %error, "the collector of traces takes no spans: {error}");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what is made.
#[derive(Debug)]
pub(super) struct CountedProcessor {
    inner: BatchSpanProcessor,
    made: IntCounter,
}

impl CountedProcessor {
    pub(super) fn new(inner: BatchSpanProcessor, metrics: &TraceMetrics) -> Self {
        Self { inner, made: metrics.made.clone() }
    }
}

impl SpanProcessor for CountedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.made.inc();
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
