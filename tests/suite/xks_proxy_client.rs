//! The KMS side of the XKS API against the daemon's own proxy: HTTP/2, HTTP/1.1, mTLS, many at once.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast::clock::SystemClock;
use holdfast::config::ProxyTls;
use holdfast::key_manager::xks::{Proxies, Trust};
use holdfast::key_manager::xks_proxy::{Origin, ProxyFailure, XksProxies, XksProxy, XksProxyAddress};
use holdfast::metrics::Metrics;
use holdfast::secret::SecretBytes;
use proxy_api::client::{Connection, Endpoint, HttpVersions, TlsTrust};
use proxy_api::error::ErrorName;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::support::Site;
use super::support::pki::write_private;
use super::support::site::{ACCESS_KEY_ID, CLIENT_CN, SECRET_ACCESS_KEY};

const STORE: &str = "cks-1234567890abcdef0";
const AT_ONCE: usize = 64;
const TRIES: usize = 50;

fn proxies(site: &Site, client_files: Option<(PathBuf, PathBuf)>) -> (Proxies, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let tls = ProxyTls { ca_file: Some(site.path("ca.pem")), client_files };
    (Proxies::new(Trust::load(&tls).unwrap(), Arc::new(SystemClock), Arc::clone(&metrics)), metrics)
}

fn address(port: u16) -> XksProxyAddress {
    XksProxyAddress {
        custom_key_store_id: STORE.to_owned(),
        uri_endpoint: format!("https://localhost:{port}"),
        uri_path: "/test/kms/xks/v1".to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret_access_key: SecretBytes::new(SECRET_ACCESS_KEY.into()),
    }
}

const fn origin(kms_operation: &str) -> Origin<'_> {
    Origin {
        kms_operation,
        kms_request_id: "request-1",
        aws_principal_arn: Some("arn:aws:iam::123456789012:user/a"),
        kms_key_arn: Some("arn:aws:kms:us-east-1:123456789012:key/1"),
    }
}

/// A busy machine is slower than a KMS is patient, and then a KMS is asked again.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, ProxyFailure>) -> Result<T, ProxyFailure> {
    for _ in 0..TRIES {
        match ask().await {
            Err(ProxyFailure::AnswerTimedOut) => {}
            result => return result,
        }
    }
    ask().await
}

async fn round_trip(proxy: &dyn XksProxy, inner: &[u8]) {
    let encrypt = async || proxy.encrypt("foo", inner, b"aad", origin("GenerateDataKey")).await;
    let outer = patiently(encrypt).await.unwrap();
    assert_ne!(outer.ciphertext, inner);
    let opened = patiently(async || proxy.decrypt("foo", &outer, b"aad", origin("Decrypt")).await).await;
    assert_eq!(opened.unwrap().expose(), inner);
    let refused = patiently(async || proxy.decrypt("foo", &outer, b"other", origin("Decrypt")).await).await;
    let is_refused =
        matches!(refused, Err(ProxyFailure::Refused { error: ErrorName::InvalidCiphertext, .. }));
    assert!(is_refused, "{refused:?}");
}

/// Everything that a KMS asks, one after the other and many at once.
async fn story(proxy: Arc<dyn XksProxy>) {
    let fleet = patiently(async || proxy.health(origin("ConnectCustomKeyStore")).await).await.unwrap();
    assert_eq!((fleet.active, fleet.degraded, fleet.unavailable), (1, 0, 0));
    let metadata = patiently(async || proxy.key_metadata("foo", origin("CreateKey")).await).await.unwrap();
    assert!(metadata.is_enabled && metadata.key_spec == "AES_256");
    assert_eq!(metadata.key_usage, ["ENCRYPT", "DECRYPT"]);
    let missing = patiently(async || proxy.key_metadata("nobody", origin("CreateKey")).await).await;
    let is_missing = matches!(missing, Err(ProxyFailure::Refused { error: ErrorName::KeyNotFound, .. }));
    assert!(is_missing, "{missing:?}");
    for bytes in [1, 4300] {
        round_trip(&*proxy, &vec![7; bytes]).await;
    }
    let mut burst = JoinSet::new();
    for number in 0..AT_ONCE {
        let proxy = Arc::clone(&proxy);
        let runtime = tokio::runtime::Handle::current();
        burst.spawn_blocking(move || runtime.block_on(round_trip(&*proxy, &vec![9; 60 + number])));
    }
    burst.join_all().await;
}

/// Ends TLS without ALPN, as a load balancer does that knows HTTP/1.1 alone. Its port.
async fn http1_only(site: &Site, tasks: &mut JoinSet<()>) -> u16 {
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_file(site.path("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(site.path("server.key")).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(site.path("ca.pem")).unwrap()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), site.port);
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut streams = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            streams.spawn(async move {
                let Ok(mut front) = acceptor.accept(tcp).await else { return };
                let back = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let Ok(mut back) = connector.connect(name, back).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut front, &mut back).await;
            });
        }
    });
    port
}

#[test]
fn a_kms_uses_the_proxy_over_http_2() {
    let site = Site::start();
    let (proxies, metrics) = proxies(&site, None);
    site.runtime.block_on(story(proxies.open(address(site.port))));
    let rendered = String::from_utf8(metrics.render().unwrap()).unwrap();
    assert!(rendered.contains(r#"certificate_name="localhost""#), "{rendered}");
    assert!(!rendered.contains("XksProxyInvalidResponseException"), "{rendered}");
    // What the adapter offers is what this offers.
    let endpoint =
        Endpoint::https(&site.host(), &TlsTrust::new(site.pki.ca_pem.as_bytes()), HttpVersions::Both)
            .unwrap();
    assert!(site.runtime.block_on(Connection::open(&endpoint)).unwrap().is_http2());
}

#[test]
fn a_kms_uses_the_proxy_over_http_1_1() {
    let site = Site::start();
    let (proxies, _) = proxies(&site, None);
    site.runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let port = http1_only(&site, &mut tasks).await;
        story(proxies.open(address(port))).await;
    });
}

#[test]
fn a_proxy_that_demands_a_certificate_is_shown_one() {
    let site = Site::start();
    let (certificate, key) = site.pki.client(CLIENT_CN);
    std::fs::write(site.path("client.pem"), certificate).unwrap();
    write_private(&site.path("client.key"), &key);
    let (with_certificate, _) = proxies(&site, Some((site.path("client.pem"), site.path("client.key"))));
    let (without, _) = proxies(&site, None);
    site.runtime.block_on(async {
        with_certificate.open(address(site.mtls_port)).health(origin("KmsHealthCheck")).await.unwrap();
        let failure =
            without.open(address(site.mtls_port)).health(origin("KmsHealthCheck")).await.unwrap_err();
        assert!(matches!(failure, ProxyFailure::Tls(_)), "{failure}");
    });
}

#[test]
fn wrong_credential_and_path_are_refusals_and_a_restart_fails_no_request_after_it() {
    let site = Site::start();
    let (proxies, _) = proxies(&site, None);
    let refusal = |address: XksProxyAddress| {
        let proxy = proxies.open(address);
        let failure =
            site.runtime.block_on(patiently(async || proxy.health(origin("ConnectCustomKeyStore")).await));
        let Err(ProxyFailure::Refused { error, .. }) = failure else { panic!("{failure:?}") };
        error
    };
    let right = address(site.port);
    let stranger = XksProxyAddress { secret_access_key: SecretBytes::new(b"x".to_vec()), ..right.clone() };
    assert_eq!(refusal(stranger), ErrorName::AuthenticationFailed);
    let elsewhere = XksProxyAddress { uri_path: "/test/kms/xks/v2".to_owned(), ..right.clone() };
    assert_eq!(refusal(elsewhere), ErrorName::InvalidUriPath);

    let proxy = proxies.open(right);
    let health = || site.runtime.block_on(patiently(async || proxy.health(origin("KmsHealthCheck")).await));
    health().unwrap();
    site.stop();
    assert!(matches!(health().unwrap_err(), ProxyFailure::Unreachable(_)));
    site.run();
    site.wait_ready();
    health().unwrap();
}
