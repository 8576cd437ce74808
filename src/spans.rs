//! Spans of requests for OpenTelemetry: their names and attributes, once. Without `[traces]` none is ever made.
//!
//! Names are those of the OpenTelemetry semantic conventions where these have one. No span holds more of a request
//! than the log line about it.

use std::fmt::Display;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, Registry};

/// What takes the spans.
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What tells spans from lines of the log.
pub const TARGET: &str = "holdfast::spans";

/// A call of the KMS API. `request_id` is the `x-amzn-RequestId` of its answer.
pub fn kms_request(operation: &'static str, request_id: impl Display) -> Span {
    tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format_args!("KMS.{operation}"),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "aws-api",
        rpc.service = "KMS",
        rpc.method = operation,
        aws.request_id = %request_id,
        http.response.status_code = Empty,
        "error.type" = Empty,
    )
}

/// A request to the XKS proxy.
pub fn xks_request(key_store: &str, operation: &'static str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format_args!("XKS.{operation}"),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.service = "XKS",
        rpc.method = operation,
        holdfast.key_store = key_store,
        holdfast.external_key_id = Empty,
        aws.request_id = Empty,
        http.response.status_code = Empty,
        "error.type" = Empty,
    )
}

/// `kms_request_id` is `kmsRequestId` of the request metadata: what AWS KMS, or our front end, calls the request.
pub fn note_xks_request(span: &Span, kms_request_id: Option<&str>, external_key_id: Option<&str>) {
    if let Some(id) = kms_request_id {
        span.record("aws.request_id", id);
    }
    if let Some(id) = external_key_id {
        span.record("holdfast.external_key_id", id);
    }
}

/// How a request was answered.
pub fn answered(span: &Span, status: u16, error: Option<&str>) {
    span.record("http.response.status_code", status);
    if let Some(error) = error {
        span.record("error.type", error);
    }
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// A request on its way to the proxy of an external key store.
pub fn proxy_request(operation: &'static str, kms_request_id: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "proxy",
        otel.name = format_args!("XKS.{operation}"),
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.service = "XKS",
        rpc.method = operation,
        aws.request_id = kms_request_id,
        "error.type" = Empty,
    )
}

/// A request at one HSM, in its queue and in it.
pub fn hsm_job(hsm: &str, operation: &'static str, is_hedge: bool) -> Span {
    tracing::info_span!(
        target: TARGET,
        "hsm",
        otel.name = format_args!("HSM.{operation}"),
        otel.kind = "client",
        otel.status_code = Empty,
        holdfast.hsm = hsm,
        holdfast.is_hedge = is_hedge,
        holdfast.queue_us = Empty,
        holdfast.hsm_us = Empty,
        "error.type" = Empty,
    )
}

/// An HSM has answered: how long the request waited for a session, and how long PKCS#11 took.
pub fn hsm_answered(span: &Span, queue_wait: Duration, hsm_time: Duration) {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    span.record("holdfast.queue_us", micros(queue_wait));
    span.record("holdfast.hsm_us", micros(hsm_time));
}

/// What we asked of something failed.
pub fn failed(span: &Span, error: &str) {
    span.record("error.type", error);
    span.record("otel.status_code", "ERROR");
}

/// The request is part of a trace that began elsewhere, if it says so (W3C Trace Context). Only who is
/// authenticated is believed: it also says whether the trace is kept.
pub fn adopt(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if parent.span().span_context().is_valid() {
        // Too late once the span has children: then it stays a trace of its own.
        let _too_late = span.set_parent(parent);
    }
}

/// The headers that tell the next server which trace its work is part of.
pub fn trace_context(span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(&mut headers));
    }
    headers
}
