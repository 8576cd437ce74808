//! Counts and logs every request when it ends, also one whose client went away before the answer.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use prometheus::{Histogram, IntCounter};
use tracing::Span;

use crate::audit::Strangers;
use crate::cloudtrail::RecordError;
use crate::domain::kms::{CustomKeyStoreId, KeyPlace, XksKeyId};
use crate::gate::kms::RequestId;
use crate::json::Object;
use crate::kms::audit::CallRecord;
use crate::kms::error::Error;
use crate::kms::operation::OperationName;
use crate::kms::server::ServerParts;
use crate::logging::{micros, timestamp};
use crate::metrics::{Metrics, OBJECTIVE_SECONDS};
use crate::spans;

/// The label of requests that name no operation.
pub(super) const UNKNOWN: &str = "unknown";
/// What `Error::Throttling` is called.
const THROTTLING: &str = "ThrottlingException";
const CLIENT_GONE: &str = "ClientGone";
const CLIENT_GONE_REASON: &str = "the client went away before the answer";
/// Of a change that was begun and whose end nobody saw, the record says this, too.
const MAY_BE_DONE: &str = "; the change was begun: whether it was made is not known";
const CLIENT_GONE_STATUS: u16 = 499;
/// Of the reason of a refusal, which repeats what was sent, this much goes into the log.
const REASON_CHARS_MAX: usize = 512;
const LINE_BYTES_USUAL: usize = 512;

/// The metrics of each operation, looked up once.
pub(super) struct OperationMetrics {
    /// In the order of [`OperationName::ALL`].
    known: Vec<Known>,
}

/// The metrics of one operation.
struct Known {
    latency: Histogram,
    successes: IntCounter,
    within_objective: IntCounter,
}

/// How a request came in.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) id: RequestId,
    pub(super) operation: Option<OperationName>,
    pub(super) received_at: Instant,
    pub(super) peer: SocketAddr,
    pub(super) listener: &'a str,
    pub(super) span: &'a Span,
}

/// Facts that are known later. Never a plaintext, a secret, a signature or an encryption context.
#[derive(Default)]
pub(super) struct Record {
    key_id: Option<String>,
    place: Option<KeyPlace>,
}

/// A request that is being served. Accounts for it when it is dropped.
pub(super) struct Accounting<'a> {
    parts: &'a ServerParts,
    metrics: &'a OperationMetrics,
    arrival: Arrival<'a>,
    call: &'a CallRecord<'a>,
    strangers: &'a Strangers,
    pub(super) record: Record,
    ending: Ending,
}

enum Ending {
    ClientGone,
    Failed(Error),
    Succeeded,
}

impl OperationMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let of = |operation: &OperationName| {
            let name = operation.as_str();
            // A counter that begins with its first errors would not seem to rise by them.
            metrics.kms_requests_total.with_label_values(&[name, THROTTLING]);
            Known {
                latency: metrics.kms_request_duration_seconds.with_label_values(&[name]),
                successes: metrics.kms_requests_total.with_label_values(&[name, "none"]),
                within_objective: metrics
                    .alarms
                    .kms_requests_within_objective_total
                    .with_label_values(&[name]),
            }
        };
        Self { known: OperationName::ALL.iter().map(of).collect() }
    }
}

impl Record {
    /// How the request names its key.
    pub(super) fn note_key(&mut self, key_id: Option<&str>) {
        self.key_id = key_id.map(str::to_owned);
    }

    /// Where that is.
    pub(super) fn note_place(&mut self, place: Option<&KeyPlace>) {
        self.place = place.cloned();
    }
}

impl<'a> Accounting<'a> {
    pub(super) fn new(
        (parts, metrics): (&'a ServerParts, &'a OperationMetrics),
        arrival: Arrival<'a>,
        (call, strangers): (&'a CallRecord<'a>, &'a Strangers),
    ) -> Self {
        parts.metrics.kms_requests_in_flight.inc();
        Self {
            parts,
            metrics,
            arrival,
            call,
            strangers,
            record: Record::default(),
            ending: Ending::ClientGone,
        }
    }

    /// There is an answer.
    pub(super) fn finish<T>(&mut self, result: &Result<T, Error>) {
        self.ending = match result {
            Ok(_) => Ending::Succeeded,
            Err(error) => Ending::Failed(error.clone()),
        };
    }

    /// What the record says of an error.
    fn recorded<'m>(&self, message: &'m str, is_end_unknown: bool) -> Cow<'m, str> {
        if is_end_unknown && self.call.is_announced() {
            Cow::Owned([message, MAY_BE_DONE].concat())
        } else {
            Cow::Borrowed(message)
        }
    }

    fn count(&self, duration: Duration, error_name: Option<&str>, is_served: bool) {
        let operation = self.arrival.operation;
        let known = operation.and_then(|operation| self.metrics.known.get(operation as usize));
        if let Some(known) = known {
            let seconds = duration.as_secs_f64();
            known.latency.observe(seconds);
            if error_name.is_none() {
                known.successes.inc();
            }
            if is_served && seconds <= OBJECTIVE_SECONDS {
                known.within_objective.inc();
            }
        }
        if let Some(error_name) = error_name {
            let operation = operation.map_or(UNKNOWN, OperationName::as_str);
            self.parts.metrics.kms_requests_total.with_label_values(&[operation, error_name]).inc();
        }
    }
}

impl Drop for Accounting<'_> {
    fn drop(&mut self) {
        let Self { parts, arrival, record, ending, .. } = &*self;
        parts.metrics.kms_requests_in_flight.dec();
        let duration = parts.clock.instant().saturating_duration_since(arrival.received_at);
        let trail = (&*parts.audit, self.strangers);
        let (status, error_name, reason) = match ending {
            Ending::ClientGone => {
                let message = self.recorded(CLIENT_GONE_REASON, true);
                self.call.end(trail, Some(RecordError { code: CLIENT_GONE, message: &message }));
                (CLIENT_GONE_STATUS, Some(CLIENT_GONE), Some(CLIENT_GONE_REASON.to_owned()))
            }
            Ending::Failed(error) => {
                let wire = error.wire();
                let message = self.recorded(&wire.message, matches!(error, Error::TimedOut));
                self.call.end(trail, Some(RecordError { code: wire.name, message: &message }));
                let reason = error.reason().chars().take(REASON_CHARS_MAX).collect();
                (wire.status.as_u16(), Some(wire.name), Some(reason))
            }
            Ending::Succeeded => {
                self.call.end(trail, None);
                (200, None, None)
            }
        };
        // Not a quota that was set, nor anything else of the caller; ThrottlingException of a busy HSM is ours.
        let is_served = status < 500 && !matches!(ending, Ending::Failed(Error::TooBusy));
        self.count(duration, error_name, is_served);
        spans::answered(arrival.span, status, error_name);
        let Some(log) = &parts.request_log else { return };
        let signer = self.call.caller();
        let place = record.place.as_ref();
        let mut text = Vec::with_capacity(LINE_BYTES_USUAL);
        let mut line = Object::begin(&mut text);
        line.text("timestamp", &timestamp(parts.clock.now()));
        line.text("level", if status >= 500 { "WARN" } else { "INFO" });
        line.text("message", "kms request");
        line.text("requestId", arrival.id.uuid().as_str());
        line.text("operation", arrival.operation.map_or(UNKNOWN, OperationName::as_str));
        line.text("outcome", error_name.unwrap_or("Success"));
        line.text_if("reason", reason.as_deref());
        line.number("status", status.into());
        if let Some(signer) = signer {
            line.text("account", signer.account.as_str());
            line.text("principalArn", &signer.arn);
            line.text("accessKeyId", &signer.access_key_id);
            line.text("region", signer.region.as_str());
        }
        line.text_if("keyId", record.key_id.as_deref());
        line.text_if(
            "customKeyStoreId",
            place.and_then(KeyPlace::custom_key_store).map(CustomKeyStoreId::as_str),
        );
        line.text_if("xksKeyId", place.and_then(KeyPlace::xks_key_id).map(XksKeyId::as_str));
        line.number("durationUs", micros(duration));
        line.display("peer", arrival.peer);
        line.text("listener", arrival.listener);
        line.end();
        text.push(b'\n');
        if signer.is_some() {
            log.write_line(&text);
        } else {
            log.write_line_of_stranger(&text);
        }
    }
}
