//! XKS v1, API content type and Authentication: versions, suites, protocols, and whose client certificate counts.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CipherSuite, NamedGroup, ProtocolVersion, SupportedProtocolVersion};
use serde_json::Value;

use crate::support::pki::{Pki, write_private};
use crate::support::site::{CLIENT_CN, free_ports};
use crate::support::tls::{Agreed, Offer};
use crate::support::{Setup, Site};

const BOTH: [(&[&SupportedProtocolVersion], &str); 2] = [(&[&TLS12], "1.2"), (&[&TLS13], "1.3")];
const HEALTH: &str = r#"{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"over-tls"}}"#;
const BETA_CN: &str = "beta.cks.kms.us-east-1.amazonaws.com";

/// The bytes of a signed health call over HTTP/1.1, after which the server is to close.
fn health_request(site: &Site, port: u16) -> Vec<u8> {
    let body = serde_json::from_str(HEALTH).unwrap();
    let signed = site.signed("health", &body);
    let host = format!("localhost:{port}");
    let outgoing = signed.outgoing(&host);
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", signed.path);
    for (name, value) in outgoing.headers.iter().filter(|(name, _)| *name != "host") {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head += &format!("Content-Length: {}\r\n\r\n", signed.body.len());
    [head.as_bytes(), &signed.body].concat()
}

fn health(site: &Site, port: u16, offer: &Offer<'_>) -> Result<Agreed, rustls::Error> {
    offer.exchange(port, &health_request(site, port))
}

#[track_caller]
fn served(outcome: Result<Agreed, rustls::Error>) -> Agreed {
    let agreed = outcome.unwrap();
    assert!(agreed.answer.starts_with("HTTP/1.1 200 OK\r\n"), "{}", agreed.answer);
    agreed
}

/// A site that has an RSA certificate on a listener of its own, at the port that comes back.
fn site_with_rsa() -> (Site, u16) {
    let [port] = free_ports();
    let listener = format!(
        "[[listener]]\nname = \"rsa\"\nlisten = \"127.0.0.1:{port}\"\ncertificate_file = \"rsa.pem\"\nprivate_key_file = \"rsa.key\"\n"
    );
    let site = Site::prepare(&Setup { tables: listener, ..Setup::default() });
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = site.pki.sign(server_params(), &key);
    std::fs::write(site.path("rsa.pem"), certificate).unwrap();
    write_private(&site.path("rsa.key"), &key.serialize_pem());
    site.run();
    site.wait_ready();
    (site, port)
}

fn server_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params
}

fn client_params(common_name: Option<&str>, dns_names: &[&str]) -> CertificateParams {
    let names: Vec<_> = dns_names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A handshake with this client certificate must end with an alert, and nothing be answered or logged. Alert 40 is
/// for what is presented; rustls has another for nothing.
#[track_caller]
fn assert_refused(site: &Site, what: &str, identity: Option<(&str, &str)>) {
    let lines = site.request_lines().len();
    let alert = match identity {
        Some(_) => AlertDescription::HandshakeFailure,
        None => AlertDescription::CertificateRequired,
    };
    for (versions, version) in BOTH {
        let offer = Offer { versions, identity, ..Offer::new(&site.pki.ca_pem) };
        let refusal = health(site, site.mtls_port, &offer).unwrap_err();
        assert_eq!(refusal, rustls::Error::AlertReceived(alert), "{what}, TLS {version}");
    }
    // The refusals came before this call, and so would have their lines.
    site.health().assert_ok();
    site.wait_until("the line of the health call", || site.request_lines().len() > lines);
    assert_eq!(site.request_lines().len(), lines + 1, "{what}");
}

/// Row 10.1.
#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let site = Site::start();
    for (versions, expected) in [
        (BOTH[0].0, ProtocolVersion::TLSv1_2),
        (BOTH[1].0, ProtocolVersion::TLSv1_3),
        (&[], ProtocolVersion::TLSv1_3),
    ] {
        let offer = Offer { versions, ..Offer::new(&site.pki.ca_pem) };
        assert_eq!(served(health(&site, site.port, &offer)).version, expected);
    }
}

/// Row 10.1.
#[test]
fn tls_1_1_is_refused() {
    let site = Site::start();
    let output = site.curl_signed(
        site.port,
        "health",
        HEALTH,
        &["--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT@SECLEVEL=0"],
    );
    assert!(output.contains("(IN), TLS alert") && !output.contains("HTTP/"), "{output}");
}

/// Rows 10.1, 10.2.
#[test]
fn each_suite_of_the_specification_suffices_alone() {
    let (site, rsa_port) = site_with_rsa();
    for (suite, port) in [
        (CipherSuite::TLS13_AES_256_GCM_SHA384, site.port),
        (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, site.port),
        (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, site.port),
        (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, rsa_port),
    ] {
        let versions = if suite.as_str().unwrap().starts_with("TLS13") { BOTH[1].0 } else { BOTH[0].0 };
        let offer = Offer { versions, cipher_suite: Some(suite), ..Offer::new(&site.pki.ca_pem) };
        assert_eq!(served(health(&site, port, &offer)).cipher_suite, suite);
    }
}

/// Rows 1.2, 10.1.
#[test]
fn http_1_1_is_there_to_fall_back_to() {
    let site = Site::start();
    for (protocols, agreed) in
        [(&[][..], None), (&["http/1.1"], Some("http/1.1")), (&["spdy/3", "http/1.1"], Some("http/1.1"))]
    {
        let offer = Offer { protocols, ..Offer::new(&site.pki.ca_pem) };
        assert_eq!(served(health(&site, site.port, &offer)).protocol.as_deref(), agreed);
    }
    let offer = Offer { protocols: &["h2", "http/1.1"], ..Offer::new(&site.pki.ca_pem) };
    let agreed = offer.exchange(site.port, b"no preface of HTTP/2\r\n\r\n").unwrap();
    assert_eq!(agreed.protocol.as_deref(), Some("h2"));
    for (flag, answer) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let output = site.curl_signed(site.port, "health", HEALTH, &[flag]);
        assert!(output.contains(answer), "{output}");
    }
}

#[test]
fn the_key_exchange_is_post_quantum_unless_the_client_cannot() {
    let site = Site::start();
    let group = |group| {
        let offer = Offer { group, ..Offer::new(&site.pki.ca_pem) };
        served(health(&site, site.port, &offer)).group
    };
    assert_eq!(group(None), Some(NamedGroup::X25519MLKEM768));
    for older in [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1] {
        assert_eq!(group(Some(older)), Some(older));
    }
}

/// Rows 10.6, 10.8.
#[test]
fn the_client_certificate_of_the_configured_subject_and_authority_is_accepted() {
    let site = Site::start();
    let (chain, key) = site.pki.client(CLIENT_CN);
    for (versions, _) in BOTH {
        let offer = Offer { versions, identity: Some((&chain, &key)), ..Offer::new(&site.pki.ca_pem) };
        served(health(&site, site.mtls_port, &offer));
    }
    std::fs::write(site.path("client.pem"), chain).unwrap();
    write_private(&site.path("client.key"), &key);
    let output = curl_with_client_certificate(&site, "1.3");
    assert!(output.contains("HTTP/2 200"), "{output}");
}

/// Rows 10.7, 10.9, 10.12, 10.13; peer fault 10. Each certificate is wrong in one thing.
#[test]
fn a_client_certificate_that_is_wrong_in_one_thing_is_refused() {
    let site = Site::start();
    let stranger = Pki::new("Other CA");
    let [mut expired, mut future, mut server_only] = [(); 3].map(|()| client_params(Some(CLIENT_CN), &[]));
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    future.not_before = date_time_ymd(4000, 1, 1);
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let right = client_params(Some(CLIENT_CN), &[]);
    for (what, (chain, key)) in [
        ("another subject", site.pki.client("cks.kms.eu-west-1.amazonaws.com")),
        ("a name below the subject", site.pki.client(&format!("www.{CLIENT_CN}"))),
        ("another authority", stranger.client(CLIENT_CN)),
        ("the name of the authority alone", Pki::new("Test CA").client(CLIENT_CN)),
        ("a stranger with the right SAN", site.pki.issue(client_params(Some("evil.example"), &[CLIENT_CN]))),
        ("no name", site.pki.issue(client_params(None, &[]))),
        ("another SAN alone", site.pki.issue(client_params(None, &["evil.example"]))),
        ("expired", site.pki.issue(expired)),
        ("not yet valid", site.pki.issue(future)),
        ("for servers", site.pki.issue(server_only)),
    ] {
        assert_refused(&site, what, Some((&chain, &key)));
    }
    let ((chain, _), (_, key)) = (site.pki.issue(right), site.pki.client(CLIENT_CN));
    assert_refused(&site, "the key of another certificate", Some((&chain, &key)));
    assert_refused(&site, "no certificate", None);
}

/// Row 10.9: the subject's common name counts; a SAN only where there is none.
#[test]
fn a_client_certificate_needs_no_alternative_name() {
    let site = Site::start();
    for params in [
        client_params(Some(CLIENT_CN), &[]),
        client_params(Some(CLIENT_CN), &["evil.example"]),
        client_params(None, &[CLIENT_CN]),
    ] {
        let (chain, key) = site.pki.issue(params);
        let offer = Offer { identity: Some((&chain, &key)), ..Offer::new(&site.pki.ca_pem) };
        served(health(&site, site.mtls_port, &offer));
    }
}

fn curl_with_client_certificate(site: &Site, version: &str) -> String {
    let [chain, key] = ["client.pem", "client.key"].map(|name| site.path(name).display().to_string());
    let arguments = ["--cert", &chain, "--key", &key, "--tls-max", version];
    site.curl_signed(site.mtls_port, "health", HEALTH, &arguments)
}

fn assert_curl_reports_alert_40(chain: &str, key: &str) {
    let site = Site::start();
    std::fs::write(site.path("client.pem"), chain).unwrap();
    write_private(&site.path("client.key"), key);
    for (_, version) in BOTH {
        let output = curl_with_client_certificate(&site, version);
        assert!(output.contains("TLS alert, handshake failure"), "TLS {version}: {output}");
        assert!(!output.contains("HTTP/1.1 ") && !output.contains("HTTP/2 "), "TLS {version}: {output}");
    }
    assert_eq!(site.request_lines(), Vec::<Value>::new());
}

/// Rows 10.10, 10.11.
#[test]
fn case_50_an_expired_certificate_of_a_foreign_authority() {
    let mut params = client_params(Some(CLIENT_CN), &[]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let (chain, key) = Pki::new("Other CA").issue(params);
    assert_curl_reports_alert_40(&chain, &key);
}

/// Rows 10.10, 10.11.
#[test]
fn case_51_a_self_signed_certificate() {
    let mut params = client_params(Some(BETA_CN), &[]);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    assert_curl_reports_alert_40(&chain, &key.serialize_pem());
}
