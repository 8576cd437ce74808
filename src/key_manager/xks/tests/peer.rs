//! A peer over TLS that answers with the bytes it was given, or breaks off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the peer does with each connection.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// Closes it before TLS.
    CloseBeforeTls,
    /// Says this instead of TLS.
    Plain(&'static [u8]),
    /// Takes it and says nothing.
    Silent,
    Tls(Vec<u8>, Then),
}

/// What follows the bytes of an answer.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Close,
    /// The next request.
    Next,
    /// Nothing ever; and each byte of the answer came slowly.
    Drip,
    Reset,
}

pub(super) struct Peer {
    pub(super) port: u16,
    pub(super) connections: Arc<AtomicUsize>,
    /// Heads and bodies that came.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    pub(super) async fn start(config: Arc<ServerConfig>, behaviour: Behaviour) -> Self {
        Self::over(TcpListener::bind("127.0.0.1:0").await.unwrap(), config, behaviour)
    }

    /// The same on a socket that listens already.
    pub(super) fn over(listener: TcpListener, config: Arc<ServerConfig>, behaviour: Behaviour) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counter, log) = (Arc::clone(&connections), Arc::clone(&requests));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            let acceptor = TlsAcceptor::from(config);
            while let Ok((tcp, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                streams.spawn(serve(tcp, acceptor.clone(), behaviour.clone(), Arc::clone(&log)));
            }
        });
        Self { port, connections, requests, _tasks: tasks }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

async fn serve(
    mut tcp: TcpStream,
    acceptor: TlsAcceptor,
    behaviour: Behaviour,
    log: Arc<Mutex<Vec<String>>>,
) {
    match behaviour {
        Behaviour::CloseBeforeTls => {}
        Behaviour::Plain(bytes) => {
            tcp.write_all(bytes).await.unwrap();
            std::future::pending().await
        }
        Behaviour::Silent => {
            let _tcp = tcp;
            std::future::pending().await
        }
        Behaviour::Tls(bytes, then) => {
            // A reset takes back what waits to be sent.
            tcp.set_nodelay(true).unwrap();
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            while let Some(request) = read_request(&mut tls).await {
                log.lock().push(request);
                if !answer(&mut tls, &bytes, then).await {
                    return;
                }
            }
        }
    }
}

/// Whether another request may follow.
async fn answer(tls: &mut TlsStream<TcpStream>, bytes: &[u8], then: Then) -> bool {
    // The client may be gone already.
    match then {
        Then::Close => {
            let _ = tls.write_all(bytes).await;
            let _ = tls.shutdown().await;
        }
        Then::Next => {
            let _ = tls.write_all(bytes).await;
        }
        Then::Drip => {
            for byte in bytes {
                let _ = tls.write_all(&[*byte]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending().await
        }
        Then::Reset => {
            let _ = tls.write_all(bytes).await;
            tls.get_ref().0.set_zero_linger().unwrap();
        }
    }
    matches!(then, Then::Next)
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An HTTP answer.
pub(super) fn http(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A certificate authority.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server with this DNS name and common name, until the end of a year.
    pub(super) fn server(&self, dns_name: &str, common_name: &str, year: i32) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![dns_name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Arc::new(config)
    }
}
