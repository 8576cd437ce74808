//! `/metrics`, `/livez` and `/readyz` on the loopback listener; the latter two for load balancers elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::Full;

use crate::admin::development::{self, Development};
use crate::http::{Incoming, Responder, Response};
use crate::metrics::Metrics;

const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Says why requests could not be served well now; empty if they could.
pub trait Readiness: Send + Sync + 'static {
    fn obstacles(&self) -> Vec<String>;

    /// Brings gauges up to date that no event sets.
    fn publish(&self);
}

pub struct Routes<R> {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<R>,
    /// Present only if the configuration allows it.
    pub development: Option<Arc<dyn Development>>,
}

/// `/metrics` for a Prometheus elsewhere.
pub struct MetricsRoutes<R> {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<R>,
}

impl<R: Readiness> Responder for MetricsRoutes<R> {
    async fn respond(&self, incoming: Incoming) -> Response {
        let is_read = incoming.method == Method::GET || incoming.method == Method::HEAD;
        match incoming.uri.path() {
            "/metrics" if is_read => render(&self.metrics, self.readiness.as_ref()),
            _ => text(StatusCode::NOT_FOUND, "there is /metrics\n"),
        }
    }
}

/// `/livez` and `/readyz` for load balancers, who are told yes or no and no reasons.
pub struct ProbeRoutes<R> {
    pub readiness: Arc<R>,
}

impl<R: Readiness> Responder for ProbeRoutes<R> {
    async fn respond(&self, incoming: Incoming) -> Response {
        let is_read = incoming.method == Method::GET || incoming.method == Method::HEAD;
        match incoming.uri.path() {
            "/livez" if is_read => text(StatusCode::OK, "alive\n"),
            "/readyz" if is_read && self.readiness.obstacles().is_empty() => text(StatusCode::OK, "ready\n"),
            "/readyz" if is_read => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            _ => text(StatusCode::NOT_FOUND, "there are /livez and /readyz\n"),
        }
    }
}

impl<R: Readiness> Responder for Routes<R> {
    async fn respond(&self, incoming: Incoming) -> Response {
        if let Some(development) = &self.development
            && let Some(response) = development::respond(development.as_ref(), &incoming).await
        {
            return response;
        }
        if incoming.method != Method::GET && incoming.method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match incoming.uri.path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/metrics" => render(&self.metrics, self.readiness.as_ref()),
            "/readyz" => self.ready(),
            _ => text(StatusCode::NOT_FOUND, "there are /livez, /metrics and /readyz\n"),
        }
    }
}

impl<R: Readiness> Routes<R> {
    fn ready(&self) -> Response {
        let obstacles = self.readiness.obstacles();
        if obstacles.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        text(StatusCode::SERVICE_UNAVAILABLE, &(obstacles.join("\n") + "\n"))
    }
}

fn render(metrics: &Metrics, readiness: &impl Readiness) -> Response {
    readiness.publish();
    metrics.alarms.ready.set(i64::from(readiness.obstacles().is_empty()));
    // Ten thousand keys make many lines: not on a thread that requests wait for.
    match tokio::task::block_in_place(|| metrics.render()) {
        Ok(body) => {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(METRICS_CONTENT_TYPE));
            response
        }
        Err(error) => {
            tracing::error!(reason = %error, "cannot render metrics: {error}");
            text(StatusCode::INTERNAL_SERVER_ERROR, "cannot render metrics\n")
        }
    }
}

pub(super) fn text(status: StatusCode, body: &str) -> Response {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
