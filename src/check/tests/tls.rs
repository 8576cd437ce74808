//! The check over TLS: versions of HTTP, and certificates on either side.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proxy_api::client::{Client, Deadlines, Endpoint, Failure, HttpVersions, Pool, Signer, TlsTrust};
use proxy_api::wire::{HealthRequest, HealthResponse, parse_body};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tempfile::TempDir;

use super::model_proxy::{ACCESS_KEY_ID, Fault, ModelProxy, PREFIX, SECRET};
use super::{options, unhappy};
use crate::check::{Report, Session, Verdict, run_cases};
use crate::clock::{Clock as _, SystemClock};

const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(10), total: Duration::from_secs(10) };
const HEALTH: &[u8] = br#"{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"1"}}"#;

/// A CA with a server certificate for `localhost` and a client certificate, in files.
struct Pki {
    folder: TempDir,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
    roots: Arc<RootCertStore>,
}

impl Pki {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name, pem: String| {
            std::fs::File::create(folder.path().join(name)).unwrap().write_all(pem.as_bytes()).unwrap();
        };
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Root");
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        write("ca.pem", ca_certificate.pem());
        let issuer = Issuer::new(ca, ca_key);
        let leaf = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            (certificate, key)
        };
        let (client, client_key) = leaf("client.example.com");
        write("client.pem", client.pem());
        write("client.key", client_key.serialize_pem());
        let (server, server_key) = leaf("localhost");
        let mut roots = RootCertStore::empty();
        roots.add(ca_certificate.der().clone()).unwrap();
        let server_key = PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes()).unwrap();
        Self { folder, server: (server.der().clone(), server_key), roots: Arc::new(roots) }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn server_config(&self, client_auth: ClientAuth) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap();
        let verifier = || {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&provider))
                .build()
        };
        let builder = match client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional => builder.with_client_cert_verifier(Arc::new(Lenient(verifier().unwrap()))),
            ClientAuth::SpecificAlerts => builder.with_client_cert_verifier(verifier().unwrap()),
            ClientAuth::Required => builder.with_client_cert_verifier(Arc::new(Alert40(verifier().unwrap()))),
        };
        let (certificate, key) = &self.server;
        let mut config = builder.with_single_cert(vec![certificate.clone()], key.clone_key()).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

#[derive(Clone, Copy)]
enum ClientAuth {
    None,
    /// Asks for a certificate and takes any, or none.
    Optional,
    Required,
    /// Refuses with the alert that says why.
    SpecificAlerts,
}

macro_rules! delegate_verifier {
    ($verifier:ident) => {
        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            self.0.root_hint_subjects()
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    };
}

/// Refuses with a general error, which becomes alert 40.
#[derive(Debug)]
struct Alert40(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Alert40 {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        verified.map_err(|_| rustls::Error::General("refused".into()))
    }

    delegate_verifier!(Alert40);
}

#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    delegate_verifier!(Lenient);
}

async fn report(client_auth: ClientAuth, only: &str) -> Report {
    let pki = Pki::new();
    let plain = ModelProxy::start(Fault::None, Some(pki.server_config(ClientAuth::None))).await;
    let mutual = ModelProxy::start(Fault::None, Some(pki.server_config(client_auth))).await;
    let host = format!("localhost:{}", plain.address.port());
    let mtls_host = format!("localhost:{}", mutual.address.port());
    let (ca, certificate, key) = (pki.path("ca.pem"), pki.path("client.pem"), pki.path("client.key"));
    let more = [
        "--timeout-seconds",
        "1",
        "--ca",
        &ca,
        "--client-cert",
        &certificate,
        "--client-key",
        &key,
        "--mtls-host",
        &mtls_host,
    ];
    let options = options(&host, &more);
    run_cases(&Session::new(&options, Arc::new(SystemClock)).unwrap(), Some(only)).await
}

#[tokio::test]
async fn a_right_proxy_passes_over_tls() {
    let report = report(ClientAuth::Required, "T").await;
    assert_eq!(unhappy(&report), [""; 0]);
    assert_eq!(report.count(Verdict::Skip), 0);
    let rows: Vec<_> = report.results.iter().map(|result| result.rows).collect();
    assert!(rows.contains(&"50") && rows.contains(&"51"));
}

#[tokio::test]
async fn http_2_is_spoken_where_both_sides_know_it() {
    let pki = Pki::new();
    let proxy = ModelProxy::start(Fault::None, Some(pki.server_config(ClientAuth::None))).await;
    let ca_pem = std::fs::read(pki.path("ca.pem")).unwrap();
    let host = format!("localhost:{}", proxy.address.port());
    for (versions, is_http2) in [
        (HttpVersions::Both, true),
        (HttpVersions::Http2, true),
        (HttpVersions::Http1, false),
        (HttpVersions::Http1WithoutAlpn, false),
    ] {
        let endpoint = Endpoint::https(&host, &TlsTrust::new(&ca_pem), versions).unwrap();
        let pool = Pool::new(endpoint, DEADLINES, 1);
        let client = Client::new(pool, Signer::new(ACCESS_KEY_ID, SECRET, "eu-west-1"), PREFIX);
        for _ in 0..2 {
            let body: HealthRequest<'_> = parse_body(HEALTH).unwrap();
            let answer = client.health(&body, SystemClock.unix_seconds()).await.unwrap();
            answer.response::<HealthResponse<'_>>().unwrap();
            assert_eq!(answer.version == http::Version::HTTP_2, is_http2, "{versions:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_a_time_out_of_tls() {
    let pki = Pki::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("localhost:{}", silent.local_addr().unwrap().port());
    let ca_pem = std::fs::read(pki.path("ca.pem")).unwrap();
    let endpoint = Endpoint::https(&host, &TlsTrust::new(&ca_pem), HttpVersions::Http1).unwrap();
    let pool = Pool::new(endpoint, Deadlines { connect: Duration::from_millis(50), ..DEADLINES }, 1);
    let client = Client::new(pool, Signer::new(ACCESS_KEY_ID, SECRET, "eu-west-1"), PREFIX);
    let failure = client.health(&parse_body(HEALTH).unwrap(), SystemClock.unix_seconds()).await;
    assert!(matches!(failure, Err(Failure::TlsTimeout)));
}

#[tokio::test]
async fn a_server_certificate_of_another_ca_is_a_failure_of_tls() {
    let (pki, other) = (Pki::new(), Pki::new());
    let proxy = ModelProxy::start(Fault::None, Some(pki.server_config(ClientAuth::None))).await;
    let ca_pem = std::fs::read(other.path("ca.pem")).unwrap();
    let host = format!("localhost:{}", proxy.address.port());
    let endpoint = Endpoint::https(&host, &TlsTrust::new(&ca_pem), HttpVersions::Http1).unwrap();
    let client =
        Client::new(Pool::new(endpoint, DEADLINES, 1), Signer::new("A", SECRET, "eu-west-1"), PREFIX);
    let failure = client.health(&parse_body(HEALTH).unwrap(), SystemClock.unix_seconds()).await;
    assert!(matches!(failure, Err(Failure::Tls(rustls::Error::InvalidCertificate(_)))));
}

#[tokio::test]
async fn specific_alerts_fail_the_two_cases_of_the_official_client_only() {
    let report = report(ClientAuth::SpecificAlerts, "mutual TLS").await;
    let failed: Vec<_> = report
        .results
        .iter()
        .filter(|result| result.verdict == Verdict::Fail)
        .map(|result| result.rows)
        .collect();
    assert_eq!(failed, ["50", "51"]);
}

#[tokio::test]
async fn a_proxy_that_takes_any_certificate_fails() {
    let report = report(ClientAuth::Optional, "mutual TLS").await;
    assert_eq!(report.count(Verdict::Fail), 4, "{:?}", unhappy(&report));
    for finding in unhappy(&report) {
        assert!(finding.ends_with("no HTTP answer / 200 (with TLS 1.3)"), "{finding}");
    }
}
