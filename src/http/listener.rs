//! A listening socket: accepts up to a limit of connections, and at the end waits for the requests in flight.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;
use tracing::info;
use tracing::warn;

use crate::clock::Clock;
use crate::config::Limits;
use crate::http::Responder;
use crate::http::connection;
use crate::http::connection::Connection;
use crate::http::connection::Protocol;
use crate::http::counters::Counters;
use crate::http::handshake;
use crate::http::handshake::HandshakeFailure;
use crate::http::tls::TlsSwitch;

/// Connections that the kernel completes while we are busy.
const BACKLOG: u32 = 1024;
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a listener needs to know.
pub struct Settings {
    /// As in the configuration, for logs and error messages.
    pub name: String,
    pub listen: SocketAddr,
    /// Absent: plain HTTP.
    pub tls: Option<Arc<TlsSwitch>>,
    pub limits: Limits,
    pub counters: Arc<dyn Counters>,
    pub clock: Arc<dyn Clock>,
}

/// A bound socket. Clients can connect; nobody answers before [`Listener::serve`].
pub struct Listener {
    socket: TcpListener,
    settings: Arc<Settings>,
}

/// How a listener came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open when `shutdown_timeout` was over.
    pub cut: usize,
}

/// Why a listener could not start.
#[derive(Debug)]
pub struct BindError {
    pub name: String,
    pub listen: SocketAddr,
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener `{}` cannot listen on {}: {}", self.name, self.listen, self.source)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Listener {
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        match listen(settings.listen) {
            Ok(socket) => Ok(Self { socket, settings: Arc::new(settings) }),
            Err(source) => Err(BindError { name: settings.name, listen: settings.listen, source }),
        }
    }

    /// Whether it could be bound. Nobody can connect meanwhile.
    pub fn check(name: &str, listen: SocketAddr) -> Result<(), BindError> {
        bound(listen).map(drop).map_err(|source| BindError { name: name.to_owned(), listen, source })
    }

    /// Where it listens: the port that the system chose, if the configured one is 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown` holds true or its sender is gone, then waits for the requests in flight.
    pub async fn serve<R: Responder>(
        self,
        responder: Arc<R>,
        mut shutdown: watch::Receiver<bool>,
    ) -> Drained {
        let mut connections = JoinSet::new();
        let stop = shutdown.clone();
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.accept(responder, stop, &mut connections) => {}
        }
        let Self { socket, settings } = self;
        drop(socket);
        drain(&mut connections, settings.limits.shutdown_timeout).await
    }

    async fn accept<R: Responder>(
        &self,
        responder: Arc<R>,
        stop: watch::Receiver<bool>,
        connections: &mut JoinSet<()>,
    ) {
        let counters = &self.settings.counters;
        let mut pause = ACCEPT_PAUSE_MIN;
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= self.settings.limits.connections_max {
                counters.connections_exhausted();
                connections.join_next().await;
            }
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE_MIN;
                    let settings = Arc::clone(&self.settings);
                    connections.spawn(serve_one(
                        stream,
                        peer,
                        settings,
                        Arc::clone(&responder),
                        stop.clone(),
                    ));
                }
                Err(error) => {
                    counters.accept_failed();
                    warn!(listener = self.settings.name, %error, "cannot accept a connection");
                    // Most often there are no file descriptors left: the next try would fail as fast.
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address)?.listen(BACKLOG)
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it a restart fails while old connections are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn serve_one<R: Responder>(
    stream: TcpStream,
    peer: SocketAddr,
    settings: Arc<Settings>,
    responder: Arc<R>,
    mut stop: watch::Receiver<bool>,
) {
    let _open = OpenConnection::new(Arc::clone(&settings.counters));
    // Fails only on a socket that is already closed.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &settings.tls else {
        let connection = Connection::new(peer, Protocol::Http1, None, settings);
        return connection::serve(stream, responder, connection, stop).await;
    };
    let tls = tls.current();
    let accepted = tokio::select! {
        accepted = handshake::accept(stream, &tls, settings.limits.tls_handshake_timeout) => accepted,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match accepted {
        Ok((stream, protocol, facts)) => {
            settings.counters.handshake_completed(&facts);
            let connection = Connection::new(peer, protocol, Some(facts), settings);
            connection::serve(stream, responder, connection, stop).await;
        }
        Err(refused) => {
            settings.counters.handshake_failed(refused.failure);
            log_refusal(&settings.name, peer, refused.failure);
            refused.close().await;
        }
    }
}

fn log_refusal(listener: &str, peer: SocketAddr, failure: HandshakeFailure) {
    match failure {
        HandshakeFailure::ClientCertificate(_) | HandshakeFailure::AlertReceived => {
            info!(listener, %peer, reason = failure.as_str(), "TLS handshake failed");
        }
        HandshakeFailure::Disconnected
        | HandshakeFailure::Incompatible
        | HandshakeFailure::Malformed
        | HandshakeFailure::TimedOut => {
            debug!(listener, %peer, reason = failure.as_str(), "TLS handshake failed");
        }
    }
}

async fn drain(connections: &mut JoinSet<()>, timeout: Duration) -> Drained {
    let finished = async { while connections.join_next().await.is_some() {} };
    // Time over or not: what counts is who is left.
    let _ = tokio::time::timeout(timeout, finished).await;
    let cut = connections.len();
    connections.abort_all();
    Drained { cut }
}

/// Counts a connection as open for as long as it lives.
struct OpenConnection(Arc<dyn Counters>);

impl OpenConnection {
    fn new(counters: Arc<dyn Counters>) -> Self {
        counters.connection_opened();
        Self(counters)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}
