//! A request as a responder gets it.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use http::Method;
use http::Uri;
use http::Version;
use http::header;

use crate::http::body::Body;
use crate::http::connection::Connection;

/// A request whose head has arrived.
pub struct Incoming {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Body,
    pub connection: Arc<Connection>,
    /// When the head was complete, by the listener's clock.
    pub received_at: Instant,
}

impl Incoming {
    pub(super) fn new(request: http::Request<hyper::body::Incoming>, connection: Arc<Connection>) -> Self {
        let received_at = connection.clock().instant();
        let (head, frames) = request.into_parts();
        Self {
            method: head.method,
            uri: head.uri,
            version: head.version,
            headers: head.headers,
            body: Body::new(frames, Arc::clone(&connection)),
            connection,
            received_at,
        }
    }

    /// The host and port that the client asked for: `:authority` of HTTP/2 or an absolute URI, else the one
    /// `Host` header. None where there are several.
    pub fn authority(&self) -> Option<&str> {
        if let Some(authority) = self.uri.authority() {
            return Some(authority.as_str());
        }
        let mut hosts = self.headers.get_all(header::HOST).iter();
        let host = hosts.next()?.to_str().ok()?;
        hosts.next().is_none().then_some(host)
    }
}
