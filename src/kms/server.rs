//! Every request to the KMS API: route, authenticate, count, check, do, answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use proxy_api::sigv4;
use tracing::Instrument;

use crate::audit::{Act, AuditLog, Strangers, Unkept};
use crate::clock::Clock;
use crate::cloudtrail::Origin;
use crate::gate::kms::{Call, Kms, Request, RequestFacts};
use crate::http::{Body, Incoming, Responder, Response};
use crate::identity::kms::{Caller, Directory, Networks};
use crate::kms::accounting::{Accounting, Arrival, OperationMetrics, Record, UNKNOWN};
use crate::kms::audit;
use crate::kms::audit::{CallRecord, Received};
use crate::kms::authentication::Presented;
use crate::kms::error::Error;
use crate::kms::model::{Document, EndpointPorts, Model};
use crate::kms::operation::OperationName;
use crate::kms::quota::{Asked, RequestQuota, RequestQuotas};
use crate::kms::request_id::RequestIds;
use crate::kms::{operations, response};
use crate::logging::LogSink;
use crate::metrics::Metrics;
use crate::secret::SecretBytes;
use crate::spans;

/// The header that names the operation.
pub(super) const X_AMZ_TARGET: &str = "x-amz-target";
const TARGET_PREFIX: &str = "TrentService.";
/// The service in the scope of a signature.
const SERVICE: &str = "kms";
/// An attestation document, a ciphertext, ten grant tokens and an encryption context of the greatest lengths.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// Longer bodies are read only of who names an access key that there is: every connection could hold one.
const BODY_BYTES_OF_STRANGERS_MAX: usize = 16 * 1024;
/// Where requests say what pair is to be made; those of RSA are searched for, which takes its time.
const KEY_PAIR_MEMBERS: [&str; 4] = ["CustomerMasterKeySpec", "KeyPairSpec", "KeySpec", "WrappingKeySpec"];
const RSA_SPECS: &str = "RSA_";
/// How long the record of a change may take to be written, whatever the deadline.
const SETTLE_TIME_MIN: Duration = Duration::from_millis(100);
/// What an operation reads where there was no body.
const NO_MEMBERS: &[u8] = b"{}";

/// The KMS API behind every listener.
pub struct Server {
    parts: ServerParts,
    model: Model,
    quota: RequestQuota,
    metrics: OperationMetrics,
    request_ids: RequestIds,
    /// Whether calls are refused because they could not be recorded, and that was logged.
    refusing: AtomicBool,
}

pub struct ServerParts {
    pub kms: Arc<Kms>,
    pub directory: Arc<Directory>,
    /// From where the requests of each listener come.
    pub networks: Arc<Networks>,
    /// The clock that signatures are checked by; what keys go by is in `kms`.
    pub clock: Arc<dyn Clock>,
    pub audit: Arc<dyn AuditLog>,
    /// Shared with STS.
    pub strangers: Arc<Strangers>,
    pub metrics: Arc<Metrics>,
    /// Absent: no line a request.
    pub request_log: Option<LogSink>,
    pub request_deadline: Duration,
    /// Of requests that make an RSA key pair.
    pub key_generation_deadline: Duration,
    pub request_quotas: RequestQuotas,
    pub endpoint_ports: EndpointPorts,
}

/// A request whose head has arrived.
struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    arrival: Arrival<'a>,
    facts: RequestFacts<'a>,
    call: &'a CallRecord<'a>,
}

impl<'a> Head<'a> {
    /// The request as its signer saw it.
    fn signed(&self, body: &'a [u8]) -> sigv4::Request<'a> {
        sigv4::Request {
            method: self.method.as_str(),
            path: self.uri.path(),
            query: self.uri.query(),
            authority: self.uri.authority().map(http::uri::Authority::as_str),
            headers: self.headers,
            body,
        }
    }
}

impl Server {
    /// Fails if the description of the API that is compiled in cannot be read.
    pub fn new(parts: ServerParts) -> Result<Self, String> {
        let model = Model::new(parts.endpoint_ports)?;
        let quota = RequestQuota::new(&parts.request_quotas, parts.metrics.alarms.clone());
        let metrics = OperationMetrics::new(&parts.metrics);
        let (request_ids, refusing) = (RequestIds::default(), AtomicBool::new(false));
        Ok(Self { parts, model, quota, metrics, request_ids, refusing })
    }

    /// How long this request may take.
    fn patience(&self, document: &Document<'_>) -> Duration {
        let ServerParts { request_deadline, key_generation_deadline, .. } = &self.parts;
        let makes_rsa_pair = KEY_PAIR_MEMBERS
            .iter()
            .any(|member| document.text(member).is_some_and(|spec| spec.starts_with(RSA_SPECS)));
        if makes_rsa_pair { *key_generation_deadline.max(request_deadline) } else { *request_deadline }
    }

    /// What is cheaper to refuse comes first. Nobody learns what a request lacks before it is known who asks.
    async fn serve(
        &self,
        head: &Head<'_>,
        operation: Result<OperationName, Error>,
        (body, record): (Body, &mut Record),
    ) -> Result<Bytes, Error> {
        let operation = operation?;
        self.admit(operation)?;
        let identified = self.identify(head, body).await;
        let (body, caller) = identified.inspect_err(|_| head.call.note_stranger(&head.signed(&[])))?;
        let (body, caller) = (body.expose(), head.call.note_caller(caller));
        spans::adopt(head.arrival.span, head.headers);
        let document = Document::parse(body)?;
        head.call.note_request(&document);
        self.quota.admit(caller, &Asked::of(operation, &document))?;
        let elsewhere = document.text("ReplicaRegion").or_else(|| document.text("PrimaryRegion"));
        self.quota.admit_elsewhere(&caller.account, operation, elsewhere)?;
        self.model.check(operation, &document)?;
        record.note_key(document.text("KeyId"));
        let deadline = head.arrival.received_at + self.patience(&document);
        drop(document);
        let body = if body.trim_ascii().is_empty() { NO_MEMBERS } else { body };
        let request =
            Request { caller, facts: head.facts, id: head.arrival.id, deadline, witness: head.call };
        let call = Call::new(&self.parts.kms, request);
        let answer = operations::dispatch(operation, &call, body);
        // The HSM keeps the deadline by itself; a disk that hangs does not.
        let result = tokio::time::timeout_at(deadline.into(), answer).await.unwrap_or(Err(Error::TimedOut));
        record.note_place(call.opened_place());
        result.inspect(|body| head.call.note_answer(body))
    }

    /// A call whose record could not be kept is refused before anything is done.
    fn admit(&self, operation: OperationName) -> Result<(), Error> {
        let act = if audit::row(operation).read_only { Act::Use } else { Act::Change };
        let admitted = self.parts.audit.admits(act);
        if admitted.is_ok() && act == Act::Change {
            self.refusing.store(false, Ordering::Relaxed);
        }
        admitted.map_err(|unkept| {
            if !self.refusing.swap(true, Ordering::Relaxed) {
                tracing::error!(reason = %unkept, "requests are refused: {unkept}");
            }
            Error::unrecorded(&unkept)
        })
    }

    /// Who sent this body.
    async fn identify(&self, head: &Head<'_>, body: Body) -> Result<(SecretBytes, Caller), Error> {
        if !body.is_at_most(BODY_BYTES_OF_STRANGERS_MAX) {
            let now_unix_seconds = self.parts.clock.unix_seconds();
            let known = self.parts.directory.recognize(&head.signed(&[]), now_unix_seconds);
            known.map_err(|why| Presented { headers: head.headers, now_unix_seconds }.error(why))?;
        }
        let body = body.read(BODY_BYTES_MAX).await?;
        let caller = self.authenticate(head, body.expose())?;
        Ok((body, caller))
    }

    fn authenticate(&self, head: &Head<'_>, body: &[u8]) -> Result<Caller, Error> {
        let signed = head.signed(body);
        let now_unix_seconds = self.parts.clock.unix_seconds();
        self.parts
            .directory
            .authenticate(&signed, SERVICE, now_unix_seconds)
            .map_err(|why| Presented { headers: head.headers, now_unix_seconds }.error(why))
    }
}

/// The operation that a request names.
fn route(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<OperationName, Error> {
    if method != Method::POST || uri.path() != "/" {
        return Err(Error::UnknownPath);
    }
    let target = headers.get(X_AMZ_TARGET).and_then(|value| value.to_str().ok());
    let name = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
    name.and_then(OperationName::parse).ok_or(Error::UnknownOperation)
}

impl Responder for Server {
    async fn respond(&self, incoming: Incoming) -> Response {
        let Incoming { method, uri, headers, body, connection, received_at, .. } = incoming;
        let operation = route(&method, &uri, &headers);
        let id = self.request_ids.next();
        let name = operation.as_ref().map_or(UNKNOWN, |operation| operation.as_str());
        let span = spans::kms_request(name, id);
        let arrival = Arrival {
            id,
            operation: operation.as_ref().ok().copied(),
            received_at,
            peer: connection.peer,
            listener: connection.listener(),
            span: &span,
        };
        let network = self.parts.networks.of_listener(connection.listener());
        let came = (connection.peer.ip(), connection.tls.is_some());
        let facts = RequestFacts::of(&network, &headers, came, self.parts.clock.unix_seconds());
        let call = CallRecord::new(Received {
            operation: arrival.operation,
            id: arrival.id,
            at: self.parts.kms.now(),
            origin: Origin::of(&facts, (&uri, &headers), connection.tls.as_ref()),
            ids: &self.request_ids,
        });
        let head = Head { method: &method, uri: &uri, headers: &headers, arrival, facts, call: &call };
        let mut accounting =
            Accounting::new((&self.parts, &self.metrics), arrival, (&call, &self.parts.strangers));
        let served = self.serve(&head, operation, (body, &mut accounting.record));
        let result = served.instrument(span.clone()).await;
        accounting.finish(&result);
        drop(accounting);
        if call.is_announced() {
            // What was changed is answered once its record has left this process. If that fails, or takes too long,
            // there is the intent.
            let soon = self.parts.clock.instant() + SETTLE_TIME_MIN;
            let deadline = soon.max(received_at + self.parts.request_deadline);
            let settled = tokio::time::timeout_at(deadline.into(), self.parts.audit.settle());
            let _settled: Result<Result<(), Unkept>, _> = settled.await;
        }
        response::of(result.as_ref().cloned(), arrival.id)
    }
}

#[cfg(test)]
mod tests;
