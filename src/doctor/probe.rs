//! What the network shows of an endpoint: name, TCP, TLS and one signed request, each with its time.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use proxy_api::client::{Answer, Connection, Endpoint, Failure, InvalidRequest, Outgoing, Signer};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::doctor::Options;

const TIMEOUT: Duration = Duration::from_secs(5);
/// The suites with AES-256-GCM of XKS v1.
const AES_256_GCM: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];
const HEALTH: &str =
    r#"{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"holdfast-doctor"}}"#;

/// Where, by name and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// How far it went, and why no further.
#[derive(Debug)]
pub(super) enum Obstacle {
    Name(String),
    Tcp(String),
    Tls(String),
}

/// A TLS connection that came about, whatever its certificate is worth.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) has_ipv4: bool,
    pub(super) dns: Duration,
    pub(super) tcp: Duration,
    pub(super) tls: Duration,
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// By the authorities of this machine and those that were given.
    pub(super) verified: Result<(), String>,
    pub(super) takes_aes_256_gcm: bool,
}

/// Who we are and whom we trust.
pub(super) struct Prober {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    clock: Arc<dyn Clock>,
}

impl Prober {
    pub(super) fn new(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &options.ca {
            roots.add_parsable_certificates(certificates(path)?);
        }
        let identity = match (&options.client_cert, &options.client_key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{}: {error}", key.display()))?;
                Some((certificates(certificate)?, key))
            }
            (Some(_), None) | (None, Some(_) | None) => None,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self { provider, roots: Arc::new(roots), identity, clock })
    }

    pub(super) const fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    fn now(&self) -> Instant {
        self.clock.instant()
    }

    fn client(&self, provider: Arc<CryptoProvider>) -> Result<(Arc<Witness>, ClientConfig), String> {
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider));
        let witness = Arc::new(Witness {
            inner: inner.build().ok(),
            provider: Arc::clone(&self.provider),
            seen: Mutex::new((Vec::new(), Err("no certificate was presented".to_owned()))),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>);
        let mut config = match &self.identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| error.to_string())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((witness, config))
    }

    /// Resolves, connects, and agrees on TLS, each with its time.
    pub(super) async fn greet(&self, address: &Address) -> Result<Greeting, Obstacle> {
        let Address { host, port } = address;
        let started = self.now();
        let addresses: Vec<_> =
            bounded(tokio::net::lookup_host((host.as_str(), *port))).await.map_err(Obstacle::Name)?.collect();
        let resolved = self.now();
        let tcp = bounded(tokio::net::TcpStream::connect(&*addresses)).await.map_err(Obstacle::Tcp)?;
        let connected = self.now();
        let (witness, config) = self.client(Arc::clone(&self.provider)).map_err(Obstacle::Tls)?;
        let name = ServerName::try_from(host.clone()).map_err(|error| Obstacle::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = bounded(connector.connect(name.clone(), tcp)).await.map_err(Obstacle::Tls)?;
        let agreed = self.now();
        drop(stream);
        let (chain, verified) = std::mem::replace(&mut *witness.seen.lock(), (Vec::new(), Ok(())));
        Ok(Greeting {
            has_ipv4: addresses.iter().any(SocketAddr::is_ipv4),
            dns: resolved - started,
            tcp: connected - resolved,
            tls: agreed - connected,
            chain,
            verified,
            takes_aes_256_gcm: self.takes_aes_256_gcm(&addresses, name).await,
        })
    }

    async fn takes_aes_256_gcm(&self, addresses: &[SocketAddr], name: ServerName<'static>) -> bool {
        let mut provider = CryptoProvider::clone(&self.provider);
        provider.cipher_suites.retain(|suite| AES_256_GCM.contains(&suite.suite()));
        let Ok((_, config)) = self.client(Arc::new(provider)) else { return false };
        let Ok(tcp) = bounded(tokio::net::TcpStream::connect(addresses)).await else { return false };
        bounded(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.is_ok()
    }

    /// GetHealthStatus on a new connection to `at`, with `host` as its Host; and how long it took altogether.
    pub(super) async fn health(
        &self,
        (at, host): (&str, &str),
        path: &str,
        signer: &Signer,
    ) -> (Result<Answer, Failure>, Duration) {
        let started = self.now();
        let exchange = async {
            let invalid = || Failure::Request(InvalidRequest);
            let path = PathAndQuery::try_from(path).map_err(|_| invalid())?;
            let mut outgoing = Outgoing::new(Method::POST, path, host, HEALTH.into());
            signer.sign(&mut outgoing, self.clock.unix_seconds()).map_err(Failure::Request)?;
            let (_, config) = self.client(Arc::clone(&self.provider)).map_err(|_| invalid())?;
            let endpoint = Endpoint::https_with(at, Arc::new(config)).map_err(|_| invalid())?;
            Connection::open(&endpoint).await?.send(outgoing).await
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(Failure::AnswerTimeout));
        (answer, self.now() - started)
    }
}

async fn bounded<T>(act: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(TIMEOUT, act).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing within {} s", TIMEOUT.as_secs())),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| format!("{}: {error}", path.display()))
}

/// Takes any certificate, and remembers it and what it is worth: nothing secret is sent to its owner.
#[derive(Debug)]
struct Witness {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<(Vec<CertificateDer<'static>>, Result<(), String>)>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match &self.inner {
            Some(inner) => inner
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map(drop)
                .map_err(|error| error.to_string()),
            None => Err("this machine has no root certificates: give --ca".to_owned()),
        };
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.seen.lock() = (chain.map(|link| link.clone().into_owned()).collect(), verified);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
