//! Counts and logs every request when it ends, also one whose client went away before the answer.

use http::StatusCode;

use crate::xks::error::Error;
use crate::xks::record::{Outcome, Record};
use crate::xks::server::{Arrived, ServerParts};

use crate::logging::timestamp;
use crate::spans;

/// What is counted, and logged with this status, when AWS KMS has given up waiting: the HSM may have done the work.
const CLIENT_GONE: &str = "ClientGone";
const CLIENT_GONE_STATUS: u16 = 499;

/// A request that is being served. Accounts for it when it is dropped.
pub(super) struct Accounting<'a, 'b> {
    parts: &'a ServerParts,
    request: &'a Arrived<'a>,
    pub(super) record: Record<'b>,
    ending: Ending,
}

enum Ending {
    ClientGone,
    Failed(Error),
    Succeeded,
}

impl<'a> Accounting<'a, '_> {
    pub(super) fn new(parts: &'a ServerParts, request: &'a Arrived<'a>) -> Self {
        parts.metrics.xks_requests_in_flight.inc();
        Self { parts, request, record: Record::default(), ending: Ending::ClientGone }
    }

    /// There is an answer.
    pub(super) fn finish<T>(&mut self, result: &Result<T, Error>) {
        self.ending = match result {
            Ok(_) => Ending::Succeeded,
            Err(error) => Ending::Failed(error.clone()),
        };
    }
}

impl Drop for Accounting<'_, '_> {
    fn drop(&mut self) {
        let Self { parts, request, record, ending } = self;
        parts.metrics.xks_requests_in_flight.dec();
        let duration = parts.clock.instant().saturating_duration_since(request.head.received_at);
        let error_name = match ending {
            Ending::ClientGone => Some(CLIENT_GONE),
            Ending::Failed(error) => Some(error.wire().name.wire().1),
            Ending::Succeeded => None,
        };
        let is_served = match ending {
            Ending::ClientGone => false,
            // What the key store's quota is for.
            Ending::Failed(Error::QuotaExceeded) => true,
            Ending::Failed(error) => is_of_the_caller(error.status()),
            Ending::Succeeded => true,
        };
        if let Some((store, target)) = &request.addressed {
            store.observe(target.operation(), duration, (error_name.is_none(), is_served));
        }
        let (key_store, operation) = request.names();
        if let Some(error_name) = error_name {
            parts.metrics.xks_requests_total.with_label_values(&[key_store, operation, error_name]).inc();
        }
        let status = match ending {
            Ending::ClientGone => CLIENT_GONE_STATUS,
            Ending::Failed(error) => error.status().as_u16(),
            Ending::Succeeded => 200,
        };
        spans::note_xks_request(&request.span, record.kms_request_id(), record.external_key_id.as_deref());
        spans::answered(&request.span, status, error_name);
        let Some(log) = &parts.request_log else { return };
        let (reason, path) = match ending {
            Ending::ClientGone => (Some("the client went away before the answer".to_owned()), None),
            Ending::Failed(error) => {
                let path = (*error == Error::UnknownPath).then(|| request.head.uri.path());
                (Some(error.reason()), path)
            }
            Ending::Succeeded => (None, None),
        };
        let time = timestamp(parts.clock.now());
        let line = record.line(&Outcome {
            time: &time,
            key_store,
            operation,
            error_name,
            reason,
            status,
            duration,
            peer: request.head.peer,
            listener: request.head.listener,
            path,
        });
        if record.access_key_id.is_some() {
            log.write_line(&line);
        } else {
            log.write_line_of_stranger(&line);
        }
    }
}

/// Whether an error says what was wrong with the request, and not that the server or its HSMs were too busy, too late or
/// broken. 501 is a request that no proxy takes: too large, say.
fn is_of_the_caller(status: StatusCode) -> bool {
    status == StatusCode::NOT_IMPLEMENTED
        || status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS
}
