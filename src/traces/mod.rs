//! Sends the spans of requests to an OpenTelemetry collector, by OTLP over HTTP. A collector that is slow or gone
//! costs spans, and never a request.

mod collector;
mod counted;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use tokio::runtime::Handle;

use crate::config;
use crate::metrics::TraceMetrics;
use crate::spans::SpanLayer;
use crate::traces::collector::Collector;
use crate::traces::counted::{CountedExporter, CountedProcessor};

/// Spans that may wait to be sent; more are dropped.
const WAITING_SPANS_MAX: usize = 8192;
const BATCH_SPANS_MAX: usize = 1024;
const BATCH_INTERVAL: Duration = Duration::from_secs(2);
/// How long one batch may take to be sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the program waits for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends the last spans when it is dropped.
pub struct TracesGuard(SdkTracerProvider);

impl Drop for TracesGuard {
    fn drop(&mut self) {
        // What could not be sent is counted as waiting.
        let _unsent = self.0.shutdown_with_timeout(FLUSH_TIMEOUT);
    }
}

/// Everything that `settings` name is read here; `runtime` is what the requests run on.
pub fn start(
    settings: &config::Traces,
    metrics: &TraceMetrics,
    runtime: &Handle,
) -> Result<(SpanLayer, TracesGuard), String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(settings, runtime.clone(), SEND_TIMEOUT)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.destination.url.to_string())
        .with_timeout(SEND_TIMEOUT)
        .build()
        .map_err(|error| format!("traces: {error}"))?;
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(BATCH_INTERVAL)
        .build();
    let processor =
        BatchSpanProcessor::builder(CountedExporter::new(exporter, metrics)).with_batch_config(batch).build();
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sampled_share)));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(CountedProcessor::new(processor, metrics))
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("holdfast"))
        // It would start a span for good when it is entered, before it is known whether its caller began the trace.
        .with_context_activation(false)
        .with_location(false)
        .with_level(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    Ok((Box::new(layer), TracesGuard(provider)))
}
