//! A TLS client for the tests, each of whose choices can be narrowed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use rustls::CipherSuite;
use rustls::ClientConfig;
use rustls::NamedGroup;
use rustls::RootCertStore;
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::tests::support::Identity;
use crate::http::tests::support::Pki;
use crate::http::tests::support::Site;
use crate::http::tests::support::read_to_end;

pub(super) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
}

/// What a client insists on; by default nothing.
#[derive(Default)]
pub(super) struct Choice<'a> {
    pub(super) version: Option<&'static SupportedProtocolVersion>,
    pub(super) cipher_suite: Option<CipherSuite>,
    pub(super) group: Option<NamedGroup>,
    pub(super) alpn: &'a [&'a str],
    pub(super) identity: Option<&'a Identity>,
}

impl TlsClient {
    pub(super) fn new(pki: &Pki, choice: &Choice<'_>) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| choice.cipher_suite.is_none_or(|wanted| suite.suite() == wanted));
        provider.kx_groups.retain(|group| choice.group.is_none_or(|wanted| group.name() == wanted));
        let versions = choice.version.map_or_else(|| VERSIONS.to_vec(), |version| vec![version]);
        let mut roots = RootCertStore::empty();
        roots.add(pki.authority.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match choice.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(certified(identity))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = choice.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config) }
    }

    pub(super) async fn connect(&self, site: &Site) -> io::Result<TlsStream<TcpStream>> {
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(Arc::clone(&self.config)).connect(name, site.connect().await).await
    }

    /// The whole answer to a GET over a connection of its own, headers included.
    pub(super) async fn get(&self, site: &Site, path: &str) -> io::Result<String> {
        let mut stream = self.connect(site).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        read_to_end(&mut stream).await
    }

    /// An HTTP/2 connection.
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub(super) async fn http2(&self, site: &Site) -> SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(site).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// A certificate with whatever key, also one that is not its own.
fn certified(identity: &Identity) -> SingleCertAndKey {
    let chain = CertificateDer::pem_file_iter(&identity.certificate_file).unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key_file).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    SingleCertAndKey::from(CertifiedKey::new(chain.map(Result::unwrap).collect(), key))
}

/// The alert that the server sent, if that is why.
pub(super) fn alert(error: &io::Error) -> Option<AlertDescription> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::AlertReceived(alert) = error { Some(*alert) } else { None }
}

pub(super) fn post(site: &Site, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(site.url(path)).body(Full::new(body.into())).unwrap()
}

/// Status and body of the answer.
pub(super) async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<(u16, String)> {
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok((head.status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
}
