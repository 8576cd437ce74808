//! The TLS handshake of one connection: what was agreed, or why there is no connection.

use std::io;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::http::certificate;
use crate::http::client_auth::ClientRefusal;
use crate::http::connection::Protocol;
use crate::http::tls::ALPN_HTTP2;
use crate::http::tls::TlsSettings;
use crate::http::watched_io::close_gently;

/// What client and server agreed on, in the IANA names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    pub version: &'static str,
    pub cipher_suite: &'static str,
    /// None where a TLS 1.2 session was resumed without a key exchange.
    pub key_exchange_group: Option<&'static str>,
    /// The subject of the client's certificate: its common name, else its first DNS name.
    pub client_subject: Option<String>,
    pub is_resumed: bool,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The client refused us; most often it does not trust our certificate.
    AlertReceived,
    ClientCertificate(ClientRefusal),
    /// The client went away; load balancers do this to see whether we are there.
    Disconnected,
    /// No protocol version, cipher suite or application protocol in common.
    Incompatible,
    /// Not TLS, or broken TLS.
    Malformed,
    TimedOut,
}

impl HandshakeFailure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlertReceived => "alert_received",
            Self::ClientCertificate(refusal) => refusal.as_str(),
            Self::Disconnected => "disconnected",
            Self::Incompatible => "incompatible",
            Self::Malformed => "malformed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// A failed handshake, and the socket where the client may still be reading why.
pub(super) struct Refused {
    pub(super) failure: HandshakeFailure,
    socket: Option<TcpStream>,
}

impl Refused {
    /// With TLS 1.3 the client has sent its request before it reads our alert. Closing on that unread request
    /// would send a reset, and the client would report the reset.
    pub(super) async fn close(self) {
        if let Some(socket) = self.socket {
            close_gently(socket).await;
        }
    }
}

pub(super) async fn accept(
    socket: TcpStream,
    settings: &TlsSettings,
    timeout: Duration,
) -> Result<(TlsStream<TcpStream>, Protocol, TlsFacts), Refused> {
    let handshake = TlsAcceptor::from(settings.server_config()).accept(socket).into_fallible();
    match tokio::time::timeout(timeout, handshake).await {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let protocol = protocol(session);
            match TlsFacts::of(session, settings) {
                Ok(facts) => Ok((stream, protocol, facts)),
                Err(refusal) => Err(Refused {
                    failure: HandshakeFailure::ClientCertificate(refusal),
                    socket: Some(stream.into_inner().0),
                }),
            }
        }
        Ok(Err((error, socket))) => Err(Refused { failure: failure(&error), socket: Some(socket) }),
        Err(_elapsed) => Err(Refused { failure: HandshakeFailure::TimedOut, socket: None }),
    }
}

impl TlsFacts {
    fn of(session: &ServerConnection, settings: &TlsSettings) -> Result<Self, ClientRefusal> {
        let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let client = session.peer_certificates().and_then(<[_]>::first);
        let client_subject = match client.map(certificate::Subject::read) {
            // A resumed session skips the verifier, and a session may outlive the certificate it began with.
            Some(Ok(subject)) if is_resumed && subject.not_after_unix_seconds < settings.unix_seconds() => {
                return Err(ClientRefusal::Expired);
            }
            Some(subject) => subject.ok().and_then(|subject| subject.names.into_iter().next()),
            None => None,
        };
        Ok(Self {
            version: session.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown"),
            cipher_suite: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            key_exchange_group: session
                .negotiated_key_exchange_group()
                .and_then(|group| group.name().as_str()),
            client_subject,
            is_resumed,
        })
    }
}

fn protocol(session: &ServerConnection) -> Protocol {
    if session.alpn_protocol() == Some(ALPN_HTTP2) { Protocol::Http2 } else { Protocol::Http1 }
}

fn failure(error: &io::Error) -> HandshakeFailure {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else {
        return HandshakeFailure::Disconnected;
    };
    if let rustls::Error::Other(other) = error
        && let Some(refusal) = other.0.downcast_ref::<ClientRefusal>()
    {
        return HandshakeFailure::ClientCertificate(*refusal);
    }
    if matches!(error, rustls::Error::NoCertificatesPresented) {
        HandshakeFailure::ClientCertificate(ClientRefusal::Absent)
    } else if matches!(error, rustls::Error::AlertReceived(_)) {
        HandshakeFailure::AlertReceived
    } else if matches!(error, rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) {
        HandshakeFailure::Incompatible
    } else {
        HandshakeFailure::Malformed
    }
}
