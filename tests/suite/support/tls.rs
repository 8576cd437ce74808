//! A TLS client that decides every detail of what it offers, and sends any bytes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ResolvesClientCert, WantsClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConfigBuilder, NamedGroup, ProtocolVersion, RootCertStore,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

/// What a client offers; what is empty or absent is as rustls has it.
#[derive(Clone, Default)]
pub struct Offer<'a> {
    pub ca_pem: &'a str,
    pub versions: &'static [&'static SupportedProtocolVersion],
    pub cipher_suite: Option<CipherSuite>,
    pub group: Option<NamedGroup>,
    pub protocols: &'static [&'static str],
    /// Certificate chain and key. They need not belong together.
    pub identity: Option<(&'a str, &'a str)>,
}

/// What came of an offer.
#[derive(Debug)]
pub struct Agreed {
    pub version: ProtocolVersion,
    pub cipher_suite: CipherSuite,
    pub group: Option<NamedGroup>,
    pub protocol: Option<String>,
    pub answer: String,
}

impl<'a> Offer<'a> {
    pub fn new(ca_pem: &'a str) -> Self {
        Self { ca_pem, ..Self::default() }
    }

    /// Shakes hands with the server on `port`, sends `request`, and reads until the server closes.
    pub fn exchange(&self, port: u16, request: &[u8]) -> Result<Agreed, rustls::Error> {
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(self.config()), name).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut stream = StreamOwned::new(tls, socket);
        let mut answer = Vec::new();
        // A server that refuses may close before all is written; what it said is still to be read.
        let _ = stream.write_all(request).and_then(|()| stream.flush());
        match stream.read_to_end(&mut answer) {
            Err(error) if stream.conn.is_handshaking() || answer.is_empty() => Err(tls_error(&error)),
            Ok(_) | Err(_) => Ok(Agreed {
                version: stream.conn.protocol_version().unwrap(),
                cipher_suite: stream.conn.negotiated_cipher_suite().unwrap().suite(),
                group: stream.conn.negotiated_key_exchange_group().map(|group| group.name()),
                protocol: stream.conn.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap()),
                answer: String::from_utf8_lossy(&answer).into_owned(),
            }),
        }
    }

    fn config(&self) -> ClientConfig {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| self.cipher_suite.is_none_or(|wanted| wanted == suite.suite()));
        provider.kx_groups.retain(|group| self.group.is_none_or(|wanted| wanted == group.name()));
        let versions = if self.versions.is_empty() { rustls::ALL_VERSIONS } else { self.versions };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = self.with_identity(builder);
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    fn with_identity(&self, builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig {
        let Some((chain, key)) = self.identity else { return builder.with_no_client_auth() };
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        builder.with_client_cert_resolver(Arc::new(Presents(Arc::new(CertifiedKey::new(chain, key)))))
    }
}

/// Presents one certificate whatever the server asks for.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn tls_error(error: &io::Error) -> rustls::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.cloned().unwrap_or_else(|| rustls::Error::General(error.to_string()))
}
