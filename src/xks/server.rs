//! Routing, authentication, quota and accounting of every request to the XKS proxy.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::Method;
use prometheus::{Histogram, IntCounter};
use proxy_api::error::ErrorName;
use proxy_api::sigv4;
use proxy_api::wire::{self, Operation, Target};
use tracing::{Instrument, Span};

use crate::clock::Clock;
use crate::config::Limits;
use crate::gate::KeyStore;
use crate::http::{Incoming, Responder, Response};
use crate::identity::Credentials;
use crate::logging::LogSink;
use crate::metrics::{Metrics, OBJECTIVE_SECONDS};
use crate::spans;
use crate::xks::accounting::Accounting;
use crate::xks::error::{Error, json_response};
use crate::xks::operations::{self, Context};
use crate::xks::record::Record;

/// Room for `requestMetadata` with ARNs of 2048 characters, and for the other members.
const REQUEST_FRAME_BYTES: usize = 32 * 1024;

/// Key stores by the prefix of their path.
pub type KeyStores = HashMap<String, Arc<StoreWithAccess>>;

/// The XKS proxy behind every listener.
pub struct Server {
    parts: ServerParts,
    key_stores: ArcSwap<KeyStores>,
    body_bytes_max: usize,
}

pub struct ServerParts {
    pub limits: Limits,
    pub fleet_size: u32,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// Absent: no line a request.
    pub request_log: Option<LogSink>,
}

/// A key store, and who may call it how often.
pub struct StoreWithAccess {
    key_store: KeyStore,
    credentials: Credentials,
    quota: Option<(NonZeroU32, Arc<DefaultDirectRateLimiter>)>,
    latency: [Histogram; 4],
    successes: [IntCounter; 4],
    within_objective: IntCounter,
}

pub struct StoreParts {
    pub key_store: KeyStore,
    pub credentials: Credentials,
    pub requests_per_second: Option<NonZeroU32>,
}

impl StoreWithAccess {
    /// `before` is the same key store as it was: an unchanged quota goes on counting.
    pub fn new(parts: StoreParts, metrics: &Metrics, before: Option<&Self>) -> Self {
        let StoreParts { key_store, credentials, requests_per_second } = parts;
        let quota = requests_per_second.map(|rate| {
            let unchanged =
                before.and_then(|before| before.quota.as_ref()).filter(|(known, _)| *known == rate);
            match unchanged {
                Some((_, limiter)) => (rate, Arc::clone(limiter)),
                None => (rate, Arc::new(RateLimiter::direct(Quota::per_second(rate)))),
            }
        });
        let name = key_store.name.clone();
        let latency = OPERATIONS.map(|operation| {
            metrics.xks_request_duration_seconds.with_label_values(&[name.as_str(), operation.name()])
        });
        let successes = OPERATIONS.map(|operation| {
            metrics.xks_requests_total.with_label_values(&[name.as_str(), operation.name(), "none"])
        });
        // A counter that begins with its first errors would not seem to rise by them: those that alerts watch begin at 0.
        for (operation, error) in
            OPERATIONS.iter().flat_map(|operation| WATCHED.map(|error| (operation, error)))
        {
            metrics.xks_requests_total.with_label_values(&[name.as_str(), operation.name(), error.wire().1]);
        }
        let within_objective =
            metrics.alarms.xks_requests_within_objective_total.with_label_values(&[name.as_str()]);
        Self { key_store, credentials, quota, latency, successes, within_objective }
    }

    /// Whether an authenticated request is served at all.
    fn admit(&self) -> Result<(), Error> {
        if self.key_store.is_blocked() {
            return Err(Error::KeyStoreBlocked);
        }
        if self.quota.as_ref().is_some_and(|(_, limiter)| limiter.check().is_err()) {
            return Err(Error::QuotaExceeded);
        }
        Ok(())
    }

    /// `is_served`: it did not fail by a fault of ours.
    pub(super) fn observe(
        &self,
        operation: Operation,
        duration: Duration,
        (is_success, is_served): (bool, bool),
    ) {
        let index = index_of(operation);
        if is_served && duration.as_secs_f64() <= OBJECTIVE_SECONDS {
            self.within_objective.inc();
        }
        if let Some(latency) = self.latency.get(index) {
            latency.observe(duration.as_secs_f64());
        }
        if let Some(successes) = self.successes.get(index).filter(|_| is_success) {
            successes.inc();
        }
    }

    pub fn key_store(&self) -> &KeyStore {
        &self.key_store
    }
}

const OPERATIONS: [Operation; 4] =
    [Operation::Decrypt, Operation::Encrypt, Operation::GetHealthStatus, Operation::GetKeyMetadata];

const fn index_of(operation: Operation) -> usize {
    match operation {
        Operation::Decrypt => 0,
        Operation::Encrypt => 1,
        Operation::GetHealthStatus => 2,
        Operation::GetKeyMetadata => 3,
    }
}

impl Server {
    pub fn new(parts: ServerParts, key_stores: KeyStores) -> Self {
        let longest = parts.limits.plaintext_bytes_max + parts.limits.aad_bytes_max;
        let body_bytes_max = longest.div_ceil(3) * 4 + REQUEST_FRAME_BYTES;
        Self { parts, key_stores: ArcSwap::from_pointee(key_stores), body_bytes_max }
    }

    /// Serves these key stores from the next request on.
    pub fn set_key_stores(&self, key_stores: KeyStores) {
        self.key_stores.store(Arc::new(key_stores));
    }

    pub fn key_stores(&self) -> Arc<KeyStores> {
        self.key_stores.load_full()
    }

    /// Path before method before signature before body: what is cheaper to refuse comes first, and an unknown
    /// prefix has no credential to check against.
    async fn serve<'b>(
        &self,
        request: &Arrived<'_>,
        body: BodyBytes<'b>,
        record: &mut Record<'b>,
    ) -> Result<Bytes, Error> {
        let addressed = request.addressed.as_ref().ok_or(Error::UnknownPath)?;
        if request.head.method != Method::POST {
            return Err(Error::MethodNotAllowed);
        }
        let body = body?;
        self.authenticate(&addressed.0, request, body, record)?;
        let result = self.operate(addressed, request.head.received_at, body, record).await;
        if result.is_err() && record.metadata.is_none() {
            // So that the log line can still be found by its `kmsRequestId`.
            record.metadata =
                wire::parse_body::<wire::MetadataRequest<'_>>(body).ok().map(|body| body.request_metadata);
        }
        result
    }

    async fn operate<'b>(
        &self,
        (store, target): &Addressed<'_>,
        received_at: Instant,
        body: &'b [u8],
        record: &mut Record<'b>,
    ) -> Result<Bytes, Error> {
        if let Target::Key { external_key_id, .. } = target {
            record.external_key_id = Some((*external_key_id).to_owned());
        }
        store.admit()?;
        match *target {
            Target::Health => {
                operations::get_health_status::run(&store.key_store, self.parts.fleet_size, body, record)
            }
            Target::Key { external_key_id, operation } => {
                let context = Context {
                    key_store: &store.key_store,
                    external_key_id,
                    deadline: received_at + self.parts.limits.request_deadline,
                    limits: &self.parts.limits,
                };
                match operation {
                    wire::KeyOperation::Decrypt => operations::decrypt::run(&context, body, record).await,
                    wire::KeyOperation::Encrypt => operations::encrypt::run(&context, body, record).await,
                    wire::KeyOperation::Metadata => {
                        operations::get_key_metadata::run(&context, body, record).await
                    }
                }
            }
        }
    }

    fn authenticate(
        &self,
        store: &StoreWithAccess,
        request: &Arrived<'_>,
        body: &[u8],
        record: &mut Record<'_>,
    ) -> Result<(), Error> {
        let head = request.head;
        let signed = sigv4::Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query(),
            authority: head.uri.authority().map(http::uri::Authority::as_str),
            headers: head.headers,
            body,
        };
        let name = store.key_store.name.as_str();
        let metrics = &self.parts.metrics;
        let show_skew = |seconds: i64| {
            let skew = i32::try_from(seconds).unwrap_or(if seconds < 0 { i32::MIN } else { i32::MAX });
            metrics.xks_clock_skew_seconds.with_label_values(&[name]).set(f64::from(skew));
        };
        let caller = store.credentials.authenticate(&signed, self.parts.clock.unix_seconds()).map_err(
            |untrusted| {
                // From a credential of ours, though not verified: a clock that jumped is seen here and nowhere else.
                untrusted.clock_skew_seconds().inspect(|seconds| show_skew(*seconds));
                record.note_refused_signature(&signed);
                Error::AuthenticationFailed(untrusted)
            },
        )?;
        show_skew(caller.clock_skew_seconds);
        metrics.credential_requests_total.with_label_values(&[name, caller.access_key_id.as_str()]).inc();
        spans::adopt(&request.span, head.headers);
        record.access_key_id = Some(caller.access_key_id);
        record.region = Some(caller.region);
        Ok(())
    }
}

type BodyBytes<'b> = Result<&'b [u8], Error>;

/// A request whose head, and perhaps body, has arrived.
pub(super) struct Arrived<'a> {
    pub(super) head: &'a Head<'a>,
    /// The key store that the path names, and what is asked of it.
    pub(super) addressed: Option<Addressed<'a>>,
    pub(super) span: Span,
}

/// Errors that alerts wait for.
const WATCHED: [ErrorName; 2] = [ErrorName::AuthenticationFailed, ErrorName::Throttling];

/// The label of requests that name no key store or operation of ours.
const UNKNOWN: &str = "unknown";

impl Arrived<'_> {
    /// Key store and operation, as metrics, log and spans call them.
    pub(super) fn names(&self) -> (&str, &'static str) {
        names(self.addressed.as_ref())
    }
}

fn names<'a>(addressed: Option<&'a Addressed<'_>>) -> (&'a str, &'static str) {
    addressed.map_or((UNKNOWN, UNKNOWN), |(store, target)| {
        (store.key_store().name.as_str(), target.operation().name())
    })
}

type Addressed<'a> = (Arc<StoreWithAccess>, Target<'a>);

pub(super) struct Head<'a> {
    method: &'a Method,
    pub(super) uri: &'a http::Uri,
    headers: &'a http::HeaderMap,
    pub(super) received_at: Instant,
    pub(super) peer: std::net::SocketAddr,
    pub(super) listener: &'a str,
}

impl Responder for Server {
    async fn respond(&self, incoming: Incoming) -> Response {
        let Incoming { method, uri, headers, body, connection, received_at, .. } = incoming;
        let head = Head {
            method: &method,
            uri: &uri,
            headers: &headers,
            received_at,
            peer: connection.peer,
            listener: connection.listener(),
        };
        let addressed = wire::parse_path(uri.path()).and_then(|route| {
            self.key_stores.load().get(route.prefix).map(|store| (Arc::clone(store), route.target))
        });
        let (key_store, operation) = names(addressed.as_ref());
        let span = spans::xks_request(key_store, operation);
        // Nothing is read of a body that nobody will look at.
        let body = if addressed.is_some() && method == Method::POST {
            body.read(self.body_bytes_max).await.map_err(Error::from)
        } else {
            Ok(crate::secret::SecretBytes::default())
        };
        let body = body.as_ref().map(|body| body.expose()).map_err(Error::clone);
        let request = Arrived { head: &head, addressed, span };
        let mut accounting = Accounting::new(&self.parts, &request);
        let served = self.serve(&request, body, &mut accounting.record);
        let result = served.instrument(request.span.clone()).await;
        accounting.finish(&result);
        match result {
            Ok(body) => json_response(body),
            Err(error) => error.response(),
        }
    }
}
