//! What a listener counts, as a seam: `metrics` gives it names.

use crate::http::handshake::HandshakeFailure;
use crate::http::handshake::TlsFacts;

/// Counters of one listener. Each method is called once an event; the default counts nothing.
pub trait Counters: Send + Sync + 'static {
    /// The operating system refused to hand over a connection (for example: no file descriptors left).
    fn accept_failed(&self) {}

    fn connection_closed(&self) {}

    fn connection_opened(&self) {}

    /// `connections_max` connections are open; the next waits in the kernel.
    fn connections_exhausted(&self) {}

    fn handshake_completed(&self, _tls: &TlsFacts) {}

    fn handshake_failed(&self, _failure: HandshakeFailure) {}

    fn responder_panicked(&self) {}

    fn timed_out(&self, _what: TimeOut) {}
}

/// Counts nothing.
impl Counters for () {}

/// What a client took too long over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeOut {
    /// Sending the body of a request.
    Body,
    /// Sending the head of a request; also a new connection that sends nothing at all.
    Head,
    /// Sending another request. Not a fault.
    Idle,
    /// Taking the response.
    Response,
}

impl TimeOut {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Response => "response",
        }
    }
}
