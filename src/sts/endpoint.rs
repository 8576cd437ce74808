//! STS behind a listener: reads the request, and counts and logs it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::rand;
use http::{HeaderMap, Uri};
use proxy_api::sigv4::Request;
use serde::Serialize;

use crate::audit::{Act, AuditLog, Strangers};
use crate::authorizer::facts::RequestFacts;
use crate::clock::Clock;
use crate::cloudtrail::{Origin, RecordError};
use crate::domain::kms::{UnixMillis, Uuid};
use crate::http::{Connection, Incoming, Responder, Response};
use crate::identity::kms::{Directory, Networks};
use crate::logging::{LogSink, timestamp};
use crate::metrics::Metrics;
use crate::sts::error::Error;
use crate::sts::record::{Ended, Strange, record_of_stranger, records};
use crate::sts::service::{Served, Service};

/// A session policy, fifty tags and the rest, each character as `%XX`.
const BODY_BYTES_MAX: usize = 128 * 1024;
/// Of the reason of a refusal, which repeats what was sent, this much goes into the log.
const REASON_CHARS_MAX: usize = 512;

pub struct Endpoint {
    service: Service,
    parts: EndpointParts,
}

pub struct EndpointParts {
    /// From where the requests of each listener come.
    pub networks: Arc<Networks>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub audit: Arc<dyn AuditLog>,
    /// Shared with the KMS API.
    pub strangers: Arc<Strangers>,
    /// Absent: no line a request.
    pub request_log: Option<LogSink>,
}

/// One line of the request log, in the words of that of the KMS API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    timestamp: &'a str,
    level: &'static str,
    message: &'static str,
    request_id: &'a str,
    operation: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    duration_us: u128,
    peer: SocketAddr,
    listener: &'a str,
}

impl Endpoint {
    pub fn new(directory: Arc<Directory>, parts: EndpointParts) -> Self {
        Self { service: Service::new(directory), parts }
    }

    fn account(&self, served: &Served, (connection, received_at): (&Connection, Instant), request_id: &str) {
        let operation = served.operation.unwrap_or("unknown");
        let wire = served.error.as_ref().map(Error::wire);
        let error = wire.as_ref().map(|wire| wire.code);
        self.parts.metrics.sts_requests_total.with_label_values(&[operation, error.unwrap_or("none")]).inc();
        let Some(log) = &self.parts.request_log else { return };
        let caller = served.caller.as_ref();
        let status = served.response.status().as_u16();
        let line = Line {
            timestamp: &timestamp(self.parts.clock.now()),
            level: if status >= 500 { "WARN" } else { "INFO" },
            message: "sts request",
            request_id,
            operation,
            outcome: error.unwrap_or("Success"),
            reason: wire.map(|wire| wire.message.chars().take(REASON_CHARS_MAX).collect()),
            status,
            account: caller.map(|caller| caller.account.as_str()),
            principal_arn: caller.map(|caller| &*caller.arn),
            access_key_id: caller.map(|caller| &*caller.access_key_id),
            duration_us: self.parts.clock.instant().saturating_duration_since(received_at).as_micros(),
            peer: connection.peer,
            listener: connection.listener(),
        };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        if caller.is_some() {
            log.write_line(&text);
        } else {
            log.write_line_of_stranger(&text);
        }
    }
}

impl Endpoint {
    fn record(
        &self,
        served: &Served,
        (uri, headers, connection): (&Uri, &HeaderMap, &Connection),
        (facts, request_id): (&RequestFacts<'_>, Uuid),
    ) {
        let seconds = i64::try_from(facts.unix_seconds).unwrap_or(i64::MAX);
        let wire = served.error.as_ref().map(Error::wire);
        let error = wire.as_ref().map(|wire| RecordError { code: wire.code, message: &wire.message });
        let at = UnixMillis(seconds.saturating_mul(1000));
        let origin = Origin::of(facts, (uri, headers), connection.tls.as_ref());
        if let Some((operation, claim)) = &served.stranger
            && self.parts.strangers.admit()
        {
            let strange = Strange { operation, claim, at, origin, request_id, error };
            self.parts.audit.append(record_of_stranger(&strange, fresh_id()));
        }
        let Some((operation, caller)) = served.operation.zip(served.caller.as_ref()) else { return };
        let ended = Ended { operation, caller, at, origin, request_id, recorded: &served.recorded, error };
        records(&ended, fresh_id).into_iter().for_each(|record| self.parts.audit.append(record));
    }
}

impl Responder for Endpoint {
    async fn respond(&self, incoming: Incoming) -> Response {
        let Incoming { method, uri, headers, body, connection, received_at, .. } = incoming;
        let id = fresh_id();
        let request_id = id.as_str();
        let body = body.read(BODY_BYTES_MAX).await;
        let network = self.parts.networks.of_listener(connection.listener());
        let came = (connection.peer.ip(), connection.tls.is_some());
        let facts = RequestFacts::of(&network, &headers, came, self.parts.clock.unix_seconds());
        let served = match &body {
            Ok(_) if self.parts.audit.admits(Act::Use).is_err() => {
                self.service.refuse(Error::ServiceUnavailable, request_id)
            }
            Ok(body) => {
                let request = Request {
                    method: method.as_str(),
                    path: uri.path(),
                    query: uri.query(),
                    authority: uri.authority().map(http::uri::Authority::as_str),
                    headers: &headers,
                    body: body.expose(),
                };
                self.service.respond(&request, &facts, request_id)
            }
            Err(error) => self.service.refuse(Error::MalformedQueryString(error.to_string()), request_id),
        };
        self.account(&served, (&connection, received_at), request_id);
        self.record(&served, (&uri, &headers, &connection), (&facts, id));
        served.response
    }
}

fn fresh_id() -> Uuid {
    let mut id = [0; 16];
    // Without randomness there is no id, but still an answer.
    let _is_random = rand::fill(&mut id).is_ok();
    Uuid::from_random(id)
}
