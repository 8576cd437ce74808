//! A proxy between the KMS API and a true one, which does one thing wrong as long as it is told to.

use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use proxy_api::client::{Connection, Endpoint, Outgoing};
use rcgen::{CertificateParams, DnType};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::pki::Pki;
use super::site::{Site, free_ports};

/// Which thing is wrong.
#[derive(Clone)]
pub enum Fault {
    None,
    /// Answers this without asking the true proxy.
    Answers(u16, Vec<u8>),
    /// The kernel takes no connection: what asks for one is dropped.
    BlackHole,
    /// Changes the body of a true answer.
    Changes(Change),
    ClosesBeforeTls,
    ClosesUnanswered,
    /// Half of an answer, and then a reset.
    CutsOff,
    /// A true answer, byte by byte.
    Drips,
    ExpiredCertificate,
    ForeignCertificate,
    /// Takes the request and says nothing.
    Hangs,
    /// Nobody listens.
    Refuses,
    /// Takes the connection and says nothing.
    Silent,
    /// Says this in place of an HTTP answer.
    Speaks(&'static [u8]),
    SpeaksPlainText,
    WrongName,
}

pub type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

pub struct RogueProxy {
    pub port: u16,
    pki: Arc<Pki>,
    foreign: Pki,
    truth: Endpoint,
    came: Arc<Mutex<Vec<Value>>>,
    runtime: Runtime,
    tasks: JoinSet<()>,
    /// What fills the queue of a black hole.
    queued: Vec<StdTcpStream>,
}

impl RogueProxy {
    /// Before the proxy of this site, with a certificate of the same authority.
    pub fn start(truth: &Site) -> Self {
        let [port] = free_ports();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut rogue = Self {
            port,
            pki: Arc::clone(&truth.pki),
            foreign: Pki::new("Another CA"),
            truth: truth.caller().endpoint,
            came: Arc::default(),
            runtime,
            tasks: JoinSet::new(),
            queued: Vec::new(),
        };
        rogue.set(&Fault::None);
        rogue
    }

    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The bodies of what came since this was asked last.
    pub fn take_requests(&self) -> Vec<Value> {
        std::mem::take(&mut *self.came.lock())
    }

    /// Cuts every connection, and does this from now on.
    pub fn set(&mut self, fault: &Fault) {
        self.runtime.block_on(self.tasks.shutdown());
        self.queued.clear();
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        if matches!(fault, Fault::Refuses) {
            return;
        }
        let backlog = if matches!(fault, Fault::BlackHole) { 1 } else { 1024 };
        let listener = self.runtime.block_on(async { listen(address, backlog) });
        if matches!(fault, Fault::BlackHole) {
            // The kernel drops what asks for a connection while too many wait to be accepted.
            let brief = Duration::from_millis(100);
            self.queued.extend(std::iter::from_fn(|| StdTcpStream::connect_timeout(&address, brief).ok()));
            self.tasks.spawn_on(keep(listener), self.runtime.handle());
            return;
        }
        let served = Served {
            fault: fault.clone(),
            tls: TlsAcceptor::from(self.certificate(fault)),
            truth: self.truth.clone(),
            came: Arc::clone(&self.came),
        };
        self.tasks.spawn_on(serve_all(listener, served), self.runtime.handle());
    }

    fn certificate(&self, fault: &Fault) -> Arc<ServerConfig> {
        let name = if matches!(fault, Fault::WrongName) { "proxy.example.com" } else { "localhost" };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if matches!(fault, Fault::ExpiredCertificate) {
            params.not_after = rcgen::date_time_ymd(2020, 12, 31);
        }
        let is_foreign = matches!(fault, Fault::ForeignCertificate);
        let (chain, key) = if is_foreign { self.foreign.issue(params) } else { self.pki.issue(params) };
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }
}

fn listen(address: SocketAddr, backlog: u32) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(backlog).unwrap()
}

async fn keep(_listener: TcpListener) {
    std::future::pending().await
}

/// What a connection needs.
#[derive(Clone)]
struct Served {
    fault: Fault,
    tls: TlsAcceptor,
    truth: Endpoint,
    came: Arc<Mutex<Vec<Value>>>,
}

async fn serve_all(listener: TcpListener, served: Served) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).unwrap();
        connections.spawn(serve(tcp, served.clone()));
    }
}

async fn serve(tcp: TcpStream, served: Served) {
    let Some(tcp) = before_tls(tcp, &served.fault).await else { return };
    let Ok(mut tls) = served.tls.accept(tcp).await else { return };
    let mut truth = None;
    while let Some(asked) = read_request(&mut tls).await {
        served.came.lock().push(serde_json::from_slice(&asked.body).unwrap());
        let Some(answer) = served.answer(&mut truth, asked).await else { return };
        if matches!(served.fault, Fault::CutsOff) {
            send(&mut tls, &answer[..answer.len() / 2]).await;
            // A reset overtakes what has not been read yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
            tls.get_ref().0.set_zero_linger().unwrap();
            return;
        }
        let is_dripping = matches!(served.fault, Fault::Drips);
        for bytes in answer.chunks(if is_dripping { 1 } else { answer.len() }) {
            send(&mut tls, bytes).await;
            if is_dripping {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// The connection, if it gets as far as TLS.
async fn before_tls(mut tcp: TcpStream, fault: &Fault) -> Option<TcpStream> {
    if matches!(fault, Fault::ClosesBeforeTls) {
        return None;
    }
    if matches!(fault, Fault::SpeaksPlainText) {
        send(&mut tcp, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    }
    if matches!(fault, Fault::Silent | Fault::SpeaksPlainText) {
        std::future::pending::<()>().await;
    }
    Some(tcp)
}

/// Whoever does not listen any more is not told.
async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

impl Served {
    /// The bytes of an answer, or none if the connection is to be closed.
    async fn answer(&self, truth: &mut Option<Connection>, asked: Asked) -> Option<Vec<u8>> {
        if let Fault::Answers(status, body) = &self.fault {
            return Some(http(*status, body));
        }
        if matches!(self.fault, Fault::CutsOff) {
            return Some(http(200, &[b' '; 1000]));
        }
        if let Fault::Speaks(bytes) = &self.fault {
            return Some(bytes.to_vec());
        }
        if matches!(self.fault, Fault::ClosesUnanswered) {
            return None;
        }
        if matches!(self.fault, Fault::Hangs) {
            std::future::pending::<()>().await;
        }
        let (status, mut body) = self.ask(truth, asked).await?;
        if let Fault::Changes(change) = &self.fault {
            let mut value: Value = serde_json::from_slice(&body).unwrap();
            change(&mut value);
            body = value.to_string().into_bytes();
        }
        Some(http(status, &body))
    }

    /// The true answer.
    async fn ask(&self, truth: &mut Option<Connection>, asked: Asked) -> Option<(u16, Vec<u8>)> {
        if asked.path.contains("/keys/spare-") && asked.path.ends_with("/metadata") {
            let key =
                json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"});
            return Some((200, key.to_string().into_bytes()));
        }
        if !truth.as_mut().is_some_and(Connection::is_open) {
            *truth = Some(Connection::open(&self.truth).await.ok()?);
        }
        let outgoing = Outgoing {
            method: Method::POST,
            path: asked.path.parse().unwrap(),
            headers: asked.headers,
            body: Bytes::from(asked.body),
        };
        let answer = truth.as_mut()?.send(outgoing).await.ok()?;
        Some((answer.status.as_u16(), answer.body.to_vec()))
    }
}

/// A request, taken apart.
struct Asked {
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut lines = head.lines();
            let path = lines.next()?.split(' ').nth(1)?.to_owned();
            let mut headers: HeaderMap = lines.map(header).collect();
            let length: usize = headers.remove("content-length")?.to_str().unwrap().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return Some(Asked { path, headers, body: bytes[end + 4..].to_vec() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn header(line: &str) -> (HeaderName, HeaderValue) {
    let (name, value) = line.split_once(": ").unwrap();
    (name.parse().unwrap(), value.parse().unwrap())
}

fn http(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
