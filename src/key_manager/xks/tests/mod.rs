//! Every way in which a proxy, its network or its TLS can fail, and what is sent and counted.

mod answers;
mod faults;
mod peer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_api::wire::{cdiv, encode_base64};
use rustls::ServerConfig;
use tempfile::TempDir;

use crate::clock::{Clock, SystemClock};
use crate::config::ProxyTls;
use crate::domain::kms::OuterLayer;
use crate::key_manager::xks::tests::peer::{Behaviour, Ca, Peer, Then, http};
use crate::key_manager::xks::{Proxies, Trust};
use crate::key_manager::xks_proxy::{Origin, ProxyFailure, XksProxies, XksProxy, XksProxyAddress};
use crate::metrics::Metrics;
use crate::secret::SecretBytes;

const STORE: &str = "cks-1234567890abcdef0";
const KEY_ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1";
const PRINCIPAL_ARN: &str = "arn:aws:iam::123456789012:user/a";
const AAD: &[u8] = b"context";
const INNER: &[u8] = b"inner layer";
const HEALTHY: &str = r#"{"xksProxyFleetSize":2,"xksProxyVendor":"v","xksProxyModel":"m","ekmVendor":"e",
    "ekmFleetDetails":[{"id":"1","model":"m","healthStatus":"ACTIVE"},{"id":"2","model":"m","healthStatus":"UNAVAILABLE"}]}"#;

/// A CA, and the adapter that trusts it.
struct Fixture {
    ca: Ca,
    metrics: Arc<Metrics>,
    proxies: Proxies,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let (ca, metrics) = (Ca::new(), Arc::new(Metrics::new().unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let proxies = Proxies::new(trust(&folder, &ca.pem), Arc::new(SystemClock), Arc::clone(&metrics));
        Self { ca, metrics, proxies, folder }
    }

    fn server(&self) -> Arc<ServerConfig> {
        self.ca.server("localhost", "proxy", 2999)
    }

    fn open(&self, uri_endpoint: &str) -> Arc<dyn XksProxy> {
        self.open_at(uri_endpoint, "/store/kms/xks/v1")
    }

    fn open_at(&self, uri_endpoint: &str, uri_path: &str) -> Arc<dyn XksProxy> {
        self.proxies.open(XksProxyAddress { uri_path: uri_path.to_owned(), ..address(uri_endpoint) })
    }

    fn rendered(&self) -> String {
        String::from_utf8(self.metrics.render().unwrap()).unwrap()
    }

    /// The value of a series, from its name and labels.
    fn metric(&self, series: &str) -> Option<f64> {
        let text = self.rendered();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }
}

fn address(uri_endpoint: &str) -> XksProxyAddress {
    XksProxyAddress {
        custom_key_store_id: STORE.to_owned(),
        uri_endpoint: uri_endpoint.to_owned(),
        uri_path: "/store/kms/xks/v1".to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: "ABCDEFGHIJKLMNOPQRST".to_owned(),
        secret_access_key: SecretBytes::new(b"secret".to_vec()),
    }
}

fn trust(folder: &TempDir, ca_pem: &str) -> Trust {
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca_pem).unwrap();
    Trust::load(&ProxyTls { ca_file: Some(ca_file), client_files: None }).unwrap()
}

fn origin(kms_operation: &str) -> Origin<'_> {
    Origin {
        kms_operation,
        kms_request_id: "request-1",
        aws_principal_arn: Some(PRINCIPAL_ARN),
        kms_key_arn: Some(KEY_ARN),
    }
}

/// Asks for health, and how long that took.
async fn timed_health(proxy: &Arc<dyn XksProxy>) -> (Result<(), ProxyFailure>, Duration) {
    let started: Instant = SystemClock.instant();
    let result = proxy.health(origin("KmsHealthCheck")).await.map(drop);
    (result, SystemClock.instant() - started)
}

/// An answer to Encrypt that keeps every rule.
fn encrypted() -> serde_json::Value {
    let (iv, metadata, ciphertext, tag) = ([1; 12], b"v1", [2; INNER.len()], [3; 16]);
    serde_json::json!({
        "ciphertext": encode_base64(&ciphertext), "ciphertextMetadata": encode_base64(metadata),
        "initializationVector": encode_base64(&iv), "authenticationTag": encode_base64(&tag),
        "ciphertextDataIntegrityValue": encode_base64(&cdiv(AAD, metadata, &iv, &ciphertext, &tag)),
    })
}

fn outer(metadata: Option<&[u8]>) -> OuterLayer {
    OuterLayer {
        iv: vec![1; 12],
        metadata: metadata.map(<[u8]>::to_vec),
        ciphertext: vec![2; INNER.len()],
        tag: vec![3; 16],
    }
}

/// The path and the JSON of the one request that came.
fn only_request(peer: &Peer) -> (String, serde_json::Value) {
    let requests = peer.requests.lock();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("/us-east-1/kms-xks-proxy/aws4_request"), "{head}");
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn each_request_says_what_the_specification_wants_and_no_more() {
    let fixture = Fixture::new();
    let answer = |body: &str| Behaviour::Tls(http(200, body), Then::Next);

    let peer = Peer::start(fixture.server(), answer(HEALTHY)).await;
    fixture.open(&peer.endpoint()).health(origin("KmsHealthCheck")).await.unwrap();
    let health = serde_json::json!({"kmsOperation": "KmsHealthCheck", "kmsRequestId": "request-1"});
    let expected = serde_json::json!({ "requestMetadata": health });
    assert_eq!(only_request(&peer), ("/store/kms/xks/v1/health".to_owned(), expected));

    let peer = Peer::start(
        fixture.server(),
        answer(r#"{"keySpec":"AES_256","keyUsage":["ENCRYPT"],"keyStatus":"DISABLED"}"#),
    )
    .await;
    let metadata = fixture.open(&peer.endpoint()).key_metadata("key.1", origin("CreateKey")).await.unwrap();
    assert!(!metadata.is_enabled && metadata.key_usage == ["ENCRYPT"]);
    let expected = serde_json::json!({"requestMetadata": {
        "awsPrincipalArn": PRINCIPAL_ARN, "kmsOperation": "CreateKey", "kmsRequestId": "request-1",
    }});
    assert_eq!(only_request(&peer), ("/store/kms/xks/v1/keys/key.1/metadata".to_owned(), expected));

    let caller = |kms_operation| {
        serde_json::json!({
            "awsPrincipalArn": PRINCIPAL_ARN, "kmsKeyArn": KEY_ARN,
            "kmsOperation": kms_operation, "kmsRequestId": "request-1",
        })
    };
    let peer = Peer::start(fixture.server(), answer(&encrypted().to_string())).await;
    let sealed = fixture.open(&peer.endpoint()).encrypt("k", INNER, AAD, origin("GenerateDataKey")).await;
    assert_eq!(sealed.unwrap(), outer(Some(b"v1")));
    let expected = serde_json::json!({
        "requestMetadata": caller("GenerateDataKey"), "plaintext": encode_base64(INNER),
        "additionalAuthenticatedData": encode_base64(AAD), "encryptionAlgorithm": "AES_GCM",
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
    });
    assert_eq!(only_request(&peer), ("/store/kms/xks/v1/keys/k/encrypt".to_owned(), expected));

    let plaintext = serde_json::json!({ "plaintext": encode_base64(INNER) }).to_string();
    let peer = Peer::start(fixture.server(), answer(&plaintext)).await;
    let opened = fixture.open(&peer.endpoint()).decrypt("k", &outer(None), b"", origin("Decrypt")).await;
    assert_eq!(opened.unwrap().expose(), INNER);
    let expected = serde_json::json!({
        "requestMetadata": caller("Decrypt"), "ciphertext": encode_base64(&[2; INNER.len()]),
        "encryptionAlgorithm": "AES_GCM", "initializationVector": encode_base64(&[1; 12]),
        "authenticationTag": encode_base64(&[3; 16]),
    });
    assert_eq!(only_request(&peer), ("/store/kms/xks/v1/keys/k/decrypt".to_owned(), expected));
}

#[tokio::test]
async fn a_path_of_another_version_is_sent_as_it_is() {
    let fixture = Fixture::new();
    let refusal = http(404, r#"{"errorName":"InvalidUriPathException","errorMessage":"no"}"#);
    let peer = Peer::start(fixture.server(), Behaviour::Tls(refusal, Then::Next)).await;
    let proxy = fixture.open_at(&peer.endpoint(), "/kms/xks/v2");
    let refused = proxy.key_metadata("k", origin("CreateKey")).await.unwrap_err();
    assert_eq!(refused.to_string(), "the proxy answered InvalidUriPathException: no");
    assert_eq!(only_request(&peer).0, "/kms/xks/v2/keys/k/metadata");
}

#[tokio::test]
async fn the_metrics_of_aws_are_kept_until_the_store_is_forgotten() {
    let fixture = Fixture::new();
    let peer = Peer::start(fixture.server(), Behaviour::Tls(http(200, HEALTHY), Then::Next)).await;
    fixture.open(&peer.endpoint()).health(origin("KmsHealthCheck")).await.unwrap();
    for (state, count) in [("Active", 1.0), ("Degraded", 0.0), ("Unavailable", 1.0)] {
        let series = format!(
            r#"holdfast_kms_xks_external_key_managers{{custom_key_store_id="{STORE}",state="{state}"}}"#
        );
        assert_eq!(fixture.metric(&series), Some(count));
    }
    let counted = format!(
        r#"holdfast_kms_xks_proxy_requests_total{{custom_key_store_id="{STORE}",error_type="N/A",exception_name="None",key_spec="",kms_operation="KmsHealthCheck",xks_operation="GetHealthStatus"}}"#
    );
    assert_eq!(fixture.metric(&counted), Some(1.0));
    let certificate = |name: &str| {
        format!(
            r#"holdfast_kms_xks_proxy_certificate_not_after_timestamp_seconds{{certificate_name="{name}",custom_key_store_id="{STORE}"}}"#
        )
    };
    assert_eq!(fixture.metric(&certificate("proxy")), Some(32_503_593_600.0));

    // Another certificate takes the place of the former, also for another client of the same store.
    let server = fixture.ca.server("localhost", "renewed", 2998);
    let refusal = http(200, r#"{"errorName":"ThrottlingException"}"#);
    let peer = Peer::start(server, Behaviour::Tls(refusal, Then::Next)).await;
    fixture.open(&peer.endpoint()).encrypt("k", INNER, AAD, origin("Encrypt")).await.unwrap_err();
    assert_eq!(fixture.metric(&certificate("proxy")), None);
    assert!(fixture.metric(&certificate("renewed")).is_some());
    let refused = format!(
        r#"holdfast_kms_xks_proxy_requests_total{{custom_key_store_id="{STORE}",error_type="Retryable",exception_name="ThrottlingException",key_spec="SYMMETRIC_DEFAULT",kms_operation="Encrypt",xks_operation="Encrypt"}}"#
    );
    assert_eq!(fixture.metric(&refused), Some(1.0));

    fixture
        .metrics
        .kms_external_key_store_throttled_total
        .with_label_values(&["cks-other", "Encrypt", ""])
        .inc();
    fixture.proxies.forget(STORE);
    let left = fixture.rendered();
    assert!(!left.contains(STORE) && left.contains("cks-other"), "{left}");
}

#[tokio::test]
async fn of_a_trial_nothing_is_measured() {
    let fixture = Fixture::new();
    let peer = Peer::start(fixture.server(), Behaviour::Tls(http(200, HEALTHY), Then::Next)).await;
    let trial = fixture.proxies.open_unmeasured(address(&peer.endpoint()));
    trial.health(origin("CreateCustomKeyStore")).await.unwrap();
    trial.key_metadata("k", origin("CreateKey")).await.unwrap_err();
    let rendered = fixture.rendered();
    assert!(!rendered.contains(STORE), "{rendered}");
}

#[tokio::test]
async fn what_ends_after_its_store_was_forgotten_is_not_measured() {
    let fixture = Fixture::new();
    let peer = Peer::start(fixture.server(), Behaviour::Tls(http(200, HEALTHY), Then::Next)).await;
    let former = fixture.open(&peer.endpoint());
    // Nothing is sent before it is awaited.
    let on_its_way = former.health(origin("KmsHealthCheck"));
    fixture.proxies.forget(STORE);
    on_its_way.await.unwrap();
    let rendered = fixture.rendered();
    assert!(!rendered.contains(STORE), "{rendered}");
    let present = fixture.open(&peer.endpoint());
    former.health(origin("KmsHealthCheck")).await.unwrap();
    present.health(origin("KmsHealthCheck")).await.unwrap();
    let counted = format!(
        r#"holdfast_kms_xks_proxy_requests_total{{custom_key_store_id="{STORE}",error_type="N/A",exception_name="None",key_spec="",kms_operation="KmsHealthCheck",xks_operation="GetHealthStatus"}}"#
    );
    assert_eq!(fixture.metric(&counted), Some(1.0));
    assert!(fixture.rendered().contains(r#"certificate_name="proxy""#));
}

#[tokio::test]
async fn connections_are_kept_until_another_ca_is_trusted() {
    let fixture = Fixture::new();
    let peer = Peer::start(fixture.server(), Behaviour::Tls(http(200, HEALTHY), Then::Next)).await;
    let proxy = fixture.open(&peer.endpoint());
    let connections = || peer.connections.load(std::sync::atomic::Ordering::SeqCst);
    for _ in 0..3 {
        fixture.proxies.set_trust(trust(&fixture.folder, &fixture.ca.pem));
        proxy.health(origin("KmsHealthCheck")).await.unwrap();
        assert_eq!(connections(), 1);
    }
    fixture.proxies.set_trust(trust(&fixture.folder, &Ca::new().pem));
    let failure = proxy.health(origin("KmsHealthCheck")).await.unwrap_err();
    assert!(matches!(failure, ProxyFailure::Tls(_)), "{failure}");
    assert_eq!(connections(), 2);
}
