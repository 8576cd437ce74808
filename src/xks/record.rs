//! What is remembered of a request while it is served: one log line and the metrics come from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use proxy_api::sigv4::{self, Authorization};
use proxy_api::wire::RequestMetadata;

use crate::json::Object;
use crate::key_manager::Done;
use crate::logging::micros;

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

    pub(super) fn kms_request_id(&self) -> Option<&str> {
        self.metadata.as_ref()?.kms_request_id.as_deref()
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

const LINE_BYTES_USUAL: usize = 768;

impl Record<'_> {
    /// The log line, with its newline.
    pub(super) fn line(&self, outcome: &Outcome<'_>) -> Vec<u8> {
        let refused = self.refused_signature.as_ref();
        let mut text = Vec::with_capacity(LINE_BYTES_USUAL);
        let mut line = Object::begin(&mut text);
        line.text("timestamp", outcome.time);
        line.text("level", if outcome.status >= 500 { "WARN" } else { "INFO" });
        line.text("message", "xks request");
        if let Some(metadata) = &self.metadata {
            line.object("requestMetadata", |object| write_metadata(object, metadata));
        }
        line.text("keyStore", outcome.key_store);
        line.text("operation", outcome.operation);
        line.text_if("externalKeyId", self.external_key_id.as_deref());
        if let Some(version) = self.key_version {
            line.number("keyVersion", version.into());
        }
        line.text_if("hsm", self.hsm.as_deref());
        line.text("outcome", outcome.error_name.unwrap_or("Success"));
        line.text_if("reason", outcome.reason.as_deref());
        line.text_if("policyStatement", self.policy_statement.as_deref());
        line.number("status", outcome.status.into());
        line.number("durationUs", micros(outcome.duration));
        line.number("queueUs", micros(self.queue_wait));
        line.number("hsmUs", micros(self.hsm_time));
        line.text_if("accessKeyId", self.access_key_id.as_deref());
        line.text_if("region", self.region.as_deref());
        line.text_if("host", refused.and_then(|refused| refused.host.as_deref()));
        line.text_if("signedHeaders", refused.and_then(|refused| refused.signed_headers.as_deref()));
        line.display("peer", outcome.peer);
        line.text("listener", outcome.listener);
        line.text_if("path", outcome.path.map(clip).as_deref());
        line.end();
        text.push(b'\n');
        text
    }
}

fn write_metadata(object: &mut Object<'_>, metadata: &RequestMetadata<'_>) {
    let RequestMetadata {
        aws_principal_arn,
        aws_source_vpc,
        aws_source_vpce,
        kms_key_arn,
        kms_operation,
        kms_request_id,
        kms_via_service,
    } = metadata;
    for (name, value) in [
        ("awsPrincipalArn", aws_principal_arn),
        ("awsSourceVpc", aws_source_vpc),
        ("awsSourceVpce", aws_source_vpce),
        ("kmsKeyArn", kms_key_arn),
        ("kmsOperation", kms_operation),
        ("kmsRequestId", kms_request_id),
        ("kmsViaService", kms_via_service),
    ] {
        object.text_if(name, value.as_deref());
    }
}
