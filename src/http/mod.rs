//! Everything between a socket and the code that answers a request: listeners, TLS, limits, time-outs, drain.

mod activity;
mod body;
mod certificate;
mod client_auth;
mod connection;
mod counters;
mod handshake;
mod listener;
mod request;
mod tls;
mod watched_io;

#[cfg(test)]
mod tests;

use std::future::Future;

use bytes::Bytes;
use http_body_util::Full;

pub use crate::http::body::Body;
pub use crate::http::body::BodyError;
pub use crate::http::certificate::CertificateFacts;
pub use crate::http::certificate::Validity;
pub use crate::http::client_auth::ClientRefusal;
pub use crate::http::connection::Connection;
pub use crate::http::connection::Protocol;
pub use crate::http::counters::Counters;
pub use crate::http::counters::TimeOut;
pub use crate::http::handshake::HandshakeFailure;
pub use crate::http::handshake::TlsFacts;
pub use crate::http::listener::BindError;
pub use crate::http::listener::Drained;
pub use crate::http::listener::Listener;
pub use crate::http::listener::Settings;
pub use crate::http::request::Incoming;
pub use crate::http::tls::TlsError;
pub use crate::http::tls::TlsFiles;
pub use crate::http::tls::TlsSettings;
pub use crate::http::tls::TlsSwitch;

/// An answer: always one buffer, so that it is one write. Secret content is `Bytes::from_owner` of something
/// that wipes itself.
pub type Response = http::Response<Full<Bytes>>;

/// What answers the requests of a listener.
pub trait Responder: Send + Sync + 'static {
    /// The answer to `request`. The future is dropped when the client goes away. A panic in it becomes a
    /// 500 without a body.
    fn respond(&self, request: Incoming) -> impl Future<Output = Response> + Send;
}
