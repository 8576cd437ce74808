//! One accepted connection: TLS, then HTTP/1.1 or HTTP/2 by ALPN, until it is idle for too long, done or told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::rt::Read;
use hyper::rt::Write;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tracing::debug;

use crate::clock::Clock;
use crate::config::Limits;
use crate::http::Responder;
use crate::http::Response;
use crate::http::activity::Activity;
use crate::http::activity::Stage;
use crate::http::activity::Watchdog;
use crate::http::counters::Counters;
use crate::http::counters::TimeOut;
use crate::http::handshake::TlsFacts;
use crate::http::listener::Settings;
use crate::http::request::Incoming;
use crate::http::watched_io::WatchedIo;

/// Request line and headers together; more gets 431. A SigV4 request needs under 2 KiB.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// What hyper may hold of a request before it is asked for, and of responses before they are written.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const HTTP2_STREAMS_MAX: u32 = 32;
/// Bodies that were sent and not yet read: of one stream, and of all streams of a connection.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
/// Streams that the client reset before they were answered (CVE-2023-44487), and that we reset for its errors.
const HTTP2_RESETS_MAX: usize = 64;
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What is known of the connection that a request came on.
pub struct Connection {
    pub peer: SocketAddr,
    pub protocol: Protocol,
    /// None on a plain listener.
    pub tls: Option<TlsFacts>,
    settings: Arc<Settings>,
    activity: Activity,
}

impl Connection {
    pub(super) fn new(
        peer: SocketAddr,
        protocol: Protocol,
        tls: Option<TlsFacts>,
        settings: Arc<Settings>,
    ) -> Arc<Self> {
        Arc::new(Self { peer, protocol, tls, settings, activity: Activity::new() })
    }

    /// The name of the listener it came in by.
    pub fn listener(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.settings.clock
    }

    pub(super) fn counters(&self) -> &dyn Counters {
        &*self.settings.counters
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// The rest of a request body will not be read. HTTP/2 resets its stream; HTTP/1.1 has only the connection.
    pub(super) fn abandon_body(&self) {
        match self.protocol {
            Protocol::Http1 => self.activity.require_close(),
            Protocol::Http2 => {}
        }
    }
}

/// Serves requests on `stream` until the connection ends.
pub(super) async fn serve<IO, R>(
    stream: IO,
    responder: Arc<R>,
    connection: Arc<Connection>,
    shutdown: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    R: Responder,
{
    let stream = TokioIo::new(WatchedIo::new(stream, Arc::clone(&connection)));
    match connection.protocol {
        Protocol::Http1 => drive(http1(stream, responder, &connection), &connection, shutdown).await,
        Protocol::Http2 => drive(http2(stream, responder, &connection), &connection, shutdown).await,
    }
}

fn http1<IO, R>(
    stream: IO,
    responder: Arc<R>,
    connection: &Arc<Connection>,
) -> impl GracefulConnection<Error = hyper::Error> + use<IO, R>
where
    IO: Read + Write + Unpin + 'static,
    R: Responder,
{
    let connection = Arc::clone(connection);
    let service = service_fn(move |request| {
        connection.activity.enter(Stage::Serving);
        let responder = Arc::clone(&responder);
        let incoming = Incoming::new(request, Arc::clone(&connection));
        let connection = Arc::clone(&connection);
        async move {
            let mut response = respond(&*responder, incoming, &connection).await;
            if connection.activity.must_close() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            connection.activity.answered(response.status());
            connection.activity.enter(Stage::Responding);
            Ok::<_, Infallible>(response)
        }
    });
    // hyper's own header time-out also runs while a kept connection is idle; ours is the watchdog.
    http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(stream, service)
}

fn http2<IO, R>(
    stream: IO,
    responder: Arc<R>,
    connection: &Arc<Connection>,
) -> impl GracefulConnection<Error = hyper::Error> + use<IO, R>
where
    IO: Read + Write + Unpin + 'static,
    R: Responder,
{
    let connection = Arc::clone(connection);
    let service = service_fn(move |request| {
        connection.activity.enter(Stage::Serving);
        let responder = Arc::clone(&responder);
        let incoming = Incoming::new(request, Arc::clone(&connection));
        let connection = Arc::clone(&connection);
        async move {
            let response = respond(&*responder, incoming, &connection).await;
            connection.activity.answered(response.status());
            Ok::<_, Infallible>(response)
        }
    });
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_RESETS_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .serve_connection(stream, service)
}

/// The responder's answer; a panic in it stays with its own request.
async fn respond<R: Responder>(responder: &R, incoming: Incoming, connection: &Connection) -> Response {
    let mut responding = pin!(async move { responder.respond(incoming).await });
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| responding.as_mut().poll(context))).unwrap_or_else(|_| {
            connection.counters().responder_panicked();
            let mut response = Response::new(Full::new(Bytes::new()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Poll::Ready(response)
        })
    })
    .await
}

/// Polls `http` to its end; tells it to finish when the listener stops or nothing has come for too long, and
/// drops it when the client stalls.
async fn drive<C>(http: C, connection: &Arc<Connection>, mut shutdown: watch::Receiver<bool>)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut http = pin!(http);
    let mut stop = pin!(async move {
        // An error says that the one who would stop us is gone, which is the same.
        let _ = shutdown.wait_for(|stop| *stop).await;
    });
    let mut watchdog = Watchdog::new(Arc::clone(connection));
    let mut is_finishing = false;
    loop {
        tokio::select! {
            biased;
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    debug!(listener = connection.listener(), peer = %connection.peer, %error, "connection ended");
                }
                return;
            }
            () = stop.as_mut(), if !is_finishing => {
                is_finishing = true;
                http.as_mut().graceful_shutdown();
            }
            stage = poll_fn(|context| watchdog.poll_expired(context)) => {
                match stage {
                    Stage::Head | Stage::New => return connection.counters().timed_out(TimeOut::Head),
                    Stage::Responding => return connection.counters().timed_out(TimeOut::Response),
                    Stage::Lingering => return,
                    Stage::Idle | Stage::Serving => {
                        connection.counters().timed_out(TimeOut::Idle);
                        connection.activity.enter(Stage::Lingering);
                        http.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}
