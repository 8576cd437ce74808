//! What is remembered of a request while it is served: one log line and the metrics come from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use proxy_api::sigv4::{self, Authorization};
use proxy_api::wire::RequestMetadata;
use serde::Serialize;

use crate::key_manager::Done;

/// Facts that the operations note. Never a plaintext, a key, a secret or a signature.
#[derive(Debug, Default)]
pub(super) struct Record<'b> {
    pub(super) metadata: Option<RequestMetadata<'b>>,
    pub(super) access_key_id: Option<String>,
    pub(super) region: Option<String>,
    pub(super) external_key_id: Option<String>,
    pub(super) key_version: Option<u32>,
    pub(super) policy_statement: Option<String>,
    refused_signature: Option<RefusedSignature>,
    hsm: Option<Arc<str>>,
    queue_wait: Duration,
    hsm_time: Duration,
}

/// What was signed, of a signature that did not verify: a proxy on the way that rewrites headers shows here. Not
/// the signature, and not the access key id, where people paste secrets.
#[derive(Debug)]
struct RefusedSignature {
    host: Option<String>,
    signed_headers: Option<String>,
}

/// Of what a stranger sent, this much goes into the log.
const STRANGER_CHARS_MAX: usize = 256;

fn clip(text: &str) -> String {
    text.chars().take(STRANGER_CHARS_MAX).collect()
}

impl Record<'_> {
    pub(super) fn note_refused_signature(&mut self, request: &sigv4::Request<'_>) {
        let signed_headers =
            Authorization::parse(request.headers).ok().map(|claimed| clip(claimed.signed_headers()));
        let host = request.authority.or_else(|| host(request.headers)).map(clip);
        self.refused_signature = Some(RefusedSignature { host, signed_headers });
    }

    /// Notes which HSM worked and for how long, and passes the result on.
    pub(super) fn note<T>(&mut self, done: Done<T>) -> Result<T, crate::key_manager::HsmError> {
        self.hsm = done.hsm;
        self.queue_wait = done.queue_wait;
        self.hsm_time = done.hsm_time;
        done.result
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(http::header::HOST)?.to_str().ok()
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) time: &'a str,
    pub(super) key_store: &'a str,
    pub(super) operation: &'a str,
    pub(super) error_name: Option<&'a str>,
    pub(super) reason: Option<String>,
    pub(super) status: u16,
    pub(super) duration: Duration,
    pub(super) peer: SocketAddr,
    pub(super) listener: &'a str,
    /// What was asked for, where that is what went wrong.
    pub(super) path: Option<&'a str>,
}

/// One line of the request log (XKS v1, Logging).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    timestamp: &'a str,
    level: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_metadata: Option<&'a RequestMetadata<'a>>,
    key_store: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hsm: Option<&'a str>,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_statement: Option<&'a str>,
    status: u16,
    duration_us: u128,
    queue_us: u128,
    hsm_us: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_headers: Option<&'a str>,
    peer: SocketAddr,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

const LINE_BYTES_USUAL: usize = 768;

impl Record<'_> {
    /// The log line, with its newline.
    pub(super) fn line(&self, outcome: &Outcome<'_>) -> Vec<u8> {
        let refused = self.refused_signature.as_ref();
        let line = Line {
            timestamp: outcome.time,
            level: if outcome.status >= 500 { "WARN" } else { "INFO" },
            message: "xks request",
            request_metadata: self.metadata.as_ref(),
            key_store: outcome.key_store,
            operation: outcome.operation,
            external_key_id: self.external_key_id.as_deref(),
            key_version: self.key_version,
            hsm: self.hsm.as_deref(),
            outcome: outcome.error_name.unwrap_or("Success"),
            reason: outcome.reason.as_deref(),
            policy_statement: self.policy_statement.as_deref(),
            status: outcome.status,
            duration_us: outcome.duration.as_micros(),
            queue_us: self.queue_wait.as_micros(),
            hsm_us: self.hsm_time.as_micros(),
            access_key_id: self.access_key_id.as_deref(),
            region: self.region.as_deref(),
            host: refused.and_then(|refused| refused.host.as_deref()),
            signed_headers: refused.and_then(|refused| refused.signed_headers.as_deref()),
            peer: outcome.peer,
            listener: outcome.listener,
            path: outcome.path.map(clip),
        };
        let mut text = Vec::with_capacity(LINE_BYTES_USUAL);
        if serde_json::to_writer(&mut text, &line).is_ok() {
            text.push(b'\n');
        }
        text
    }
}
