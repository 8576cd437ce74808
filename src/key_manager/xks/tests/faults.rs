//! Faults of network and TLS: what each becomes, and that none takes longer than 600 ms.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::key_manager::xks::tests::peer::{Behaviour, Ca, Peer, Then, http};
use crate::key_manager::xks::tests::{AAD, Fixture, HEALTHY, INNER, STORE, origin, timed_health};
use crate::key_manager::xks_proxy::ProxyFailure;

const AT_ONCE: Range<u64> = 0..600;
const ONE_ATTEMPT: Range<u64> = 245..600;
const TWO_ATTEMPTS: Range<u64> = 490..600;

/// The kind of a failure, for comparison.
fn kind(failure: &ProxyFailure) -> &'static str {
    match failure {
        ProxyFailure::AnswerTimedOut => "answer timed out",
        ProxyFailure::Malformed(_) => "malformed",
        ProxyFailure::Refused { .. } => "refused",
        ProxyFailure::Tls(_) => "tls",
        ProxyFailure::Unreachable(_) => "unreachable",
    }
}

/// Asks the proxy at `endpoint` for its health.
async fn assert_fails(fixture: &Fixture, endpoint: &str, expected: &str, time_ms: Range<u64>) {
    let proxy = fixture.open(endpoint);
    let (result, took) = timed_health(&proxy).await;
    let failure = result.unwrap_err();
    assert_eq!(kind(&failure), expected, "{failure}");
    let time = Duration::from_millis(time_ms.start)..Duration::from_millis(time_ms.end);
    assert!(time.contains(&took), "{expected} ({failure}) after {took:?}");
}

#[tokio::test]
async fn what_is_not_there_is_unreachable() {
    let fixture = Fixture::new();
    let unused = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    assert_fails(&fixture, &format!("https://localhost:{unused}"), "unreachable", AT_ONCE).await;
    assert_fails(&fixture, "https://nobody.invalid", "unreachable", 0..600).await;
    for unusable in ["http://localhost", "https://local host", "https://"] {
        assert_fails(&fixture, unusable, "unreachable", AT_ONCE).await;
    }
}

#[tokio::test]
async fn a_black_hole_is_tried_twice_and_forgotten_when_it_ends() {
    let fixture = Fixture::new();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel drops what asks for a connection while too many wait to be accepted.
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    let endpoint = format!("https://localhost:{}", address.port());
    assert_fails(&fixture, &endpoint, "unreachable", TWO_ATTEMPTS).await;
    let labels = format!(
        r#"{{custom_key_store_id="{STORE}",key_spec="",kms_operation="KmsHealthCheck",xks_operation="GetHealthStatus"}}"#
    );
    let seconds = fixture.metric(&format!("holdfast_kms_xks_proxy_duration_seconds_sum{labels}")).unwrap();
    assert!((0.49..=0.5).contains(&seconds), "{seconds}");
    assert_eq!(fixture.metric(&format!("holdfast_kms_xks_proxy_duration_seconds_count{labels}")), Some(1.0));

    drop(waiting);
    let peer = Peer::over(listener, fixture.server(), Behaviour::Tls(http(200, HEALTHY), Then::Next));
    fixture.open(&peer.endpoint()).health(origin("KmsHealthCheck")).await.unwrap();
}

#[tokio::test]
async fn tls_that_fails_is_told_from_tls_that_never_ends() {
    let fixture = Fixture::new();
    let healthy = || Behaviour::Tls(http(200, HEALTHY), Then::Next);
    for (server, behaviour, expected, time_ms) in [
        (fixture.server(), Behaviour::Silent, "answer timed out", ONE_ATTEMPT),
        (fixture.server(), Behaviour::CloseBeforeTls, "tls", AT_ONCE),
        (fixture.server(), Behaviour::Plain(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls", AT_ONCE),
        (Ca::new().server("localhost", "proxy", 2999), healthy(), "tls", AT_ONCE),
        (fixture.ca.server("localhost", "proxy", 2020), healthy(), "tls", AT_ONCE),
        (fixture.ca.server("proxy.example.com", "proxy", 2999), healthy(), "tls", AT_ONCE),
    ] {
        let peer = Peer::start(server, behaviour).await;
        assert_fails(&fixture, &peer.endpoint(), expected, time_ms).await;
        assert_eq!(peer.connections.load(Ordering::SeqCst), 1, "nothing of this is repeated");
    }
}

#[tokio::test]
async fn answers_that_break_off_or_come_late_are_told_apart_and_not_asked_for_again() {
    let fixture = Fixture::new();
    let whole = http(200, HEALTHY);
    let half = whole[..whole.len() / 2].to_vec();
    let head = b"HTTP/1.1 200 OK\r\nContent-Le".to_vec();
    let huge = http(200, &format!("{{\"{}\":1}}", "x".repeat(200 * 1024)));
    let endless_head = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    for (bytes, then, expected, time_ms) in [
        (half.clone(), Then::Reset, "malformed", AT_ONCE),
        (half.clone(), Then::Close, "malformed", AT_ONCE),
        (head, Then::Close, "malformed", AT_ONCE),
        (Vec::new(), Then::Close, "unreachable", AT_ONCE),
        (Vec::new(), Then::Reset, "unreachable", AT_ONCE),
        (Vec::new(), Then::Next, "answer timed out", ONE_ATTEMPT),
        (half, Then::Next, "answer timed out", ONE_ATTEMPT),
        (whole, Then::Drip, "answer timed out", ONE_ATTEMPT),
        (huge, Then::Close, "malformed", AT_ONCE),
        (endless_head, Then::Close, "malformed", AT_ONCE),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), Then::Next, "malformed", AT_ONCE),
        (http(200, "<html>"), Then::Next, "malformed", AT_ONCE),
        (http(404, "Not Found"), Then::Next, "malformed", AT_ONCE),
        (http(500, ""), Then::Next, "malformed", AT_ONCE),
        (http(503, r#"{"errorName":"ServiceUnavailable"}"#), Then::Next, "malformed", AT_ONCE),
        (http(302, ""), Then::Next, "malformed", AT_ONCE),
    ] {
        let shown = String::from_utf8_lossy(&bytes).chars().take(60).collect::<String>();
        let peer = Peer::start(fixture.server(), Behaviour::Tls(bytes, then)).await;
        assert_fails(&fixture, &peer.endpoint(), expected, time_ms).await;
        assert_eq!(peer.requests.lock().len(), 1, "{shown}");
    }
    let counted = format!(
        r#"holdfast_kms_xks_proxy_requests_total{{custom_key_store_id="{STORE}",error_type="Non-retryable",exception_name="XksProxyInvalidResponseException",key_spec="",kms_operation="KmsHealthCheck",xks_operation="GetHealthStatus"}}"#
    );
    assert_eq!(fixture.metric(&counted), Some(11.0));
    let counted = counted.replace("Non-retryable", "Retryable").replace("InvalidResponse", "Unreachable");
    assert_eq!(fixture.metric(&counted), Some(5.0));
}

#[tokio::test]
async fn a_kept_connection_that_the_proxy_closed_fails_no_request() {
    let fixture = Fixture::new();
    let peer = Peer::start(fixture.server(), Behaviour::Tls(http(200, HEALTHY), Then::Close)).await;
    let proxy = fixture.open(&peer.endpoint());
    for connections in 1..6 {
        proxy.health(origin("KmsHealthCheck")).await.unwrap();
        assert_eq!(peer.connections.load(Ordering::SeqCst), connections);
    }
}

#[tokio::test]
async fn a_client_without_trust_says_so_when_it_is_used() {
    let fixture = Fixture::new();
    let peer = Peer::start(fixture.server(), Behaviour::Tls(http(200, HEALTHY), Then::Next)).await;
    fixture.proxies.set_trust(crate::key_manager::xks::Trust::without_certificates());
    let proxy = fixture.open(&peer.endpoint());
    let failure = proxy.encrypt("k", INNER, AAD, origin("Encrypt")).await.unwrap_err();
    assert_eq!(failure, ProxyFailure::Tls("the system has no certificates to trust".to_owned()));
    assert_eq!(Arc::strong_count(&proxy), 1);
}
