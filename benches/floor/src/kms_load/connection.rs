//! A kept connection: writes a request as it is, and reads an answer that says how long it is.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Options;

pub struct Endpoint {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

impl Endpoint {
    pub fn new(options: &Options) -> Self {
        let (scheme, address) = options.url.split_once("://").unwrap();
        let tls = || {
            let mut roots = rustls::RootCertStore::empty();
            let certificates = CertificateDer::pem_file_iter(&options.ca).unwrap().map(Result::unwrap);
            roots.add_parsable_certificates(certificates);
            let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            let name = address.split(':').next().unwrap().to_owned();
            (TlsConnector::from(Arc::new(config)), ServerName::try_from(name).unwrap())
        };
        Self { address: address.to_owned(), tls: (scheme == "https").then(tls) }
    }
}

impl Connection {
    pub async fn open(endpoint: &Endpoint) -> Self {
        let socket = TcpStream::connect(&endpoint.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let stream: Box<dyn Stream> = match &endpoint.tls {
            Some((connector, name)) => Box::new(connector.connect(name.clone(), socket).await.unwrap()),
            None => Box::new(socket),
        };
        Self { stream, buffer: Vec::with_capacity(128 * 1024) }
    }

    pub async fn exchange(&mut self, request: &[u8]) -> Answer<'_> {
        self.stream.write_all(request).await.unwrap();
        self.stream.flush().await.unwrap();
        self.buffer.clear();
        let head_bytes = loop {
            self.read().await;
            let end = self.buffer.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD);
            if let Some(end) = end {
                break end + END_OF_HEAD.len();
            }
        };
        let head = str::from_utf8(&self.buffer[..head_bytes]).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body_bytes: usize = header(head, "content-length").unwrap().parse().unwrap();
        while self.buffer.len() < head_bytes + body_bytes {
            self.read().await;
        }
        Answer { status, body: &self.buffer[head_bytes..head_bytes + body_bytes] }
    }

    async fn read(&mut self) {
        assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the server hung up");
    }
}

fn header<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}
