//! One connection to a proxy, one request at a time.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::dial::dial;
use super::heard::Heard;
use super::names::Names;
use super::{Answer, Endpoint, Failure, InvalidRequest};
use crate::{sigv4, wire};

/// Far above any answer that the API knows, far below what could hurt.
const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// A request to be sent, the same for HTTP/1.1 and HTTP/2.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub method: Method,
    /// As it travels: encoded, with the query if there is one.
    pub path: PathAndQuery,
    /// With `Host`, which becomes `:authority` under HTTP/2.
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Outgoing {
    /// A request with the headers `Content-Type` and, if `host` can be one, `Host`.
    #[must_use]
    pub fn new(method: Method, path: PathAndQuery, host: &str, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(wire::CONTENT_TYPE));
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(HOST, host);
        }
        Self { method, path, headers, body }
    }

    /// The request as SigV4 sees it.
    #[must_use]
    pub fn signable(&self) -> sigv4::Request<'_> {
        sigv4::Request {
            method: self.method.as_str(),
            path: self.path.path(),
            query: self.path.query(),
            authority: None,
            headers: &self.headers,
            body: &self.body,
        }
    }
}

/// An open connection. Nothing runs in the background under HTTP/1.1: it moves when its user awaits.
pub struct Connection {
    sender: Sender,
    /// Absent once it ended, so that what it had not sent yet does not wait for ever.
    driver: Option<Driver>,
    /// How the connection ended, once it has.
    ended: Option<Result<(), Failure>>,
    /// Whether something of the present answer came.
    heard: Arc<AtomicBool>,
    peer_certificate: Option<Vec<u8>>,
}

type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>, Scheme),
}

impl Connection {
    /// TCP, TLS if the endpoint has it, and the HTTP version that was agreed on. Has no deadline of its own.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let tcp = connect(&Names::of(endpoint)).await?;
        Self::over(tcp, endpoint).await
    }

    /// TLS and HTTP over what [`connect`] made.
    pub(super) async fn over(tcp: TcpStream, endpoint: &Endpoint) -> Result<Self, Failure> {
        let Some((config, name)) = endpoint.tls() else {
            return handshake(tcp, endpoint.is_http2_unless_negotiated(), Scheme::HTTP).await;
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let tls = connector.connect(name.clone(), tcp).await.map_err(|error| {
            let failure = Failure::from_chain(&error, false);
            if let Failure::Closed(kind) = failure { Failure::TlsClosed(kind) } else { failure }
        })?;
        let session = tls.get_ref().1;
        let is_http2 = match session.alpn_protocol() {
            Some(protocol) => protocol == b"h2",
            None => endpoint.is_http2_unless_negotiated(),
        };
        let leaf = session.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec());
        let connection = handshake(tls, is_http2, Scheme::HTTPS).await?;
        Ok(Self { peer_certificate: leaf, ..connection })
    }

    /// What the server showed, in DER.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer_certificate.as_deref()
    }

    /// Whether HTTP/2 was agreed on.
    #[must_use]
    pub const fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(..))
    }

    /// Whether a further request can be sent. Looks for a close that arrived meanwhile.
    pub fn is_open(&mut self) -> bool {
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        self.ended.is_none()
            && match &self.sender {
                Sender::Http1(sender) => !sender.is_closed(),
                Sender::Http2(sender, _) => !sender.is_closed(),
            }
    }

    /// Sends one request and reads the whole answer. After a failure the connection is of no more use.
    pub async fn send(&mut self, outgoing: Outgoing) -> Result<Answer, Failure> {
        self.heard.store(false, Ordering::Relaxed);
        let heard = Arc::clone(&self.heard);
        let mut exchange: Pin<Box<dyn Future<Output = _> + Send>> = match &mut self.sender {
            Sender::Http1(sender) => {
                let response = sender.send_request(http1_request(outgoing));
                Box::pin(async move { read(response.await, false, &heard).await })
            }
            Sender::Http2(sender, scheme) => {
                let request = http2_request(outgoing, scheme).map_err(Failure::Request)?;
                let response = sender.send_request(request);
                Box::pin(async move { read(response.await, true, &heard).await })
            }
        };
        let result = std::future::poll_fn(|context| {
            let answer = exchange.as_mut().poll(context);
            if answer.is_ready() {
                return answer;
            }
            self.poll_driver(context);
            exchange.as_mut().poll(context)
        })
        .await;
        let result = match (result, self.ended.take()) {
            // The driver saw the cause; the exchange only that there was one.
            (Err(_), Some(Err(failure))) => Err(failure),
            (result, ended) => {
                self.ended = ended;
                result
            }
        };
        match result {
            Err(Failure::Closed(kind)) if self.heard.load(Ordering::Relaxed) => Err(Failure::Cut(kind)),
            result => result,
        }
    }

    /// Waits until the server ends the connection, and says how. Never returns while the server is content.
    pub async fn closed(&mut self) -> Failure {
        std::future::poll_fn(|context| {
            self.poll_driver(context);
            if self.ended.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        match self.ended.take() {
            Some(Err(failure)) => failure,
            Some(Ok(())) | None => Failure::Closed(std::io::ErrorKind::UnexpectedEof),
        }
    }

    fn poll_driver(&mut self, context: &mut Context<'_>) {
        let is_http2 = self.is_http2();
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(result) = driver.as_mut().poll(context)
        {
            self.driver = None;
            self.ended = Some(result.map_err(|error| Failure::from_chain(&error, is_http2)));
        }
    }
}

/// TCP alone.
pub(super) async fn connect(names: &Names) -> Result<TcpStream, Failure> {
    let addresses = names.addresses().await.map_err(Failure::Connect)?;
    let tcp = dial(&addresses).await.map_err(Failure::Connect)?;
    // Otherwise a request of two packets waits for an acknowledgement that the peer delays by 40 ms.
    tcp.set_nodelay(true).map_err(Failure::Connect)?;
    Ok(tcp)
}

async fn handshake<I>(io: I, is_http2: bool, scheme: Scheme) -> Result<Connection, Failure>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error| Failure::from_chain(&error, is_http2);
    let heard = Arc::new(AtomicBool::new(false));
    let (sender, driver): (_, Driver) = if is_http2 {
        // Frames come for many reasons here: `read` notes the answer.
        let (sender, driver) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.map_err(failed)?;
        (Sender::Http2(sender, scheme), Box::pin(driver))
    } else {
        let io = Heard::new(io, Arc::clone(&heard));
        let (sender, driver) = http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
        (Sender::Http1(sender), Box::pin(driver))
    };
    Ok(Connection { sender, driver: Some(driver), ended: None, heard, peer_certificate: None })
}

fn http1_request(outgoing: Outgoing) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(outgoing.body));
    *request.method_mut() = outgoing.method;
    *request.uri_mut() = Uri::from(outgoing.path);
    *request.headers_mut() = outgoing.headers;
    request
}

fn http2_request(mut outgoing: Outgoing, scheme: &Scheme) -> Result<Request<Full<Bytes>>, InvalidRequest> {
    let host = outgoing.headers.remove(HOST).ok_or(InvalidRequest)?;
    let uri = Uri::builder()
        .scheme(scheme.clone())
        .authority(host.as_bytes())
        .path_and_query(outgoing.path.clone())
        .build()
        .map_err(|_| InvalidRequest)?;
    let mut request = http1_request(outgoing);
    *request.uri_mut() = uri;
    Ok(request)
}

async fn read(
    response: Result<Response<Incoming>, hyper::Error>,
    is_http2: bool,
    heard: &AtomicBool,
) -> Result<Answer, Failure> {
    let failed = |error: &(dyn Error + 'static)| Failure::from_chain(error, is_http2);
    let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
    heard.store(true, Ordering::Relaxed);
    let bytes_said = usize::try_from(body.size_hint().lower()).unwrap_or(ANSWER_BYTES_MAX);
    let mut body = Limited::new(body, ANSWER_BYTES_MAX);
    // Mostly at once as large as it will be. Chunks do not say how many follow.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_said.min(ANSWER_BYTES_MAX)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() { Failure::AnswerTooLarge } else { failed(&*error) }
        })?;
        if let Some(data) = frame.data_ref() {
            append(&mut bytes, data);
        }
    }
    Ok(Answer { status: head.status, version: head.version, headers: head.headers, body: bytes })
}

/// Wipes the buffer that was too small, as there may be a plaintext in it.
fn append(bytes: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let bytes_needed = bytes.len() + data.len();
    if bytes_needed > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(bytes_needed.max(2 * bytes.capacity())));
        larger.extend_from_slice(bytes);
        std::mem::swap(bytes, &mut larger);
    }
    bytes.extend_from_slice(data);
}
