//! TLS of a listener: versions, suites, groups, application protocols, files, reload.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::KeyPair;
use rcgen::PKCS_RSA_SHA256;
use rustls::AlertDescription;
use rustls::CipherSuite;
use rustls::NamedGroup;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tokio::io::AsyncWriteExt;

use crate::clock::SystemClock;
use crate::config::Limits;
use crate::http::HandshakeFailure;
use crate::http::TlsError;
use crate::http::TlsFiles;
use crate::http::TlsSettings;
use crate::http::TlsSwitch;
use crate::http::Validity;
use crate::http::tests::support::BODY_BYTES_MAX;
use crate::http::tests::support::Event;
use crate::http::tests::support::Identity;
use crate::http::tests::support::Pki;
use crate::http::tests::support::Site;
use crate::http::tests::support::curl;
use crate::http::tests::support::limits;
use crate::http::tests::support::load;
use crate::http::tests::support::read_to_end;
use crate::http::tests::support::server_params;
use crate::http::tests::tls_client::Choice;
use crate::http::tests::tls_client::TlsClient;
use crate::http::tests::tls_client::VERSIONS;
use crate::http::tests::tls_client::alert;
use crate::http::tests::tls_client::post;
use crate::http::tests::tls_client::send;

fn tls_files(server: Identity) -> TlsFiles {
    TlsFiles {
        certificate_file: server.certificate_file,
        private_key_file: server.key_file,
        client_auth: None,
    }
}

/// Inventory 10, the suites that the specification names.
#[tokio::test]
async fn every_suite_of_the_specification_is_spoken() {
    let pki = Pki::new();
    let ecdsa = Site::tls(&pki.tls_files());
    let rsa_key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let rsa = Site::tls(&tls_files(pki.issue("rsa", &server_params(), rsa_key)));
    for (site, cipher_suite) in [
        (&ecdsa, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (&ecdsa, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (&ecdsa, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        (&rsa, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (&rsa, CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ] {
        let client = TlsClient::new(&pki, &Choice { cipher_suite: Some(cipher_suite), ..Choice::default() });
        let facts = client.get(site, "/facts").await.unwrap();
        assert!(facts.contains(&format!("{:?}", cipher_suite.as_str().unwrap())), "{facts}");
    }
}

#[tokio::test]
async fn both_versions_are_spoken_and_nothing_older() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    for (version, name) in [(&TLS12, "TLSv1_2"), (&TLS13, "TLSv1_3")] {
        let client = TlsClient::new(&pki, &Choice { version: Some(version), ..Choice::default() });
        assert!(client.get(&site, "/facts").await.unwrap().contains(name));
    }
    let old = ["-k", "--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT@SECLEVEL=0", &site.url("/")];
    let output = curl(&old).await;
    assert!(output.contains("TLSv1.1 (IN), TLS alert"), "{output}");
    site.recorder.saw(Event::HandshakeFailed(HandshakeFailure::Incompatible)).await;
}

#[tokio::test]
async fn the_hybrid_group_is_preferred_and_a_client_without_it_connects() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    for (group, name) in [
        (None, "X25519MLKEM768"),
        (Some(NamedGroup::X25519), "X25519"),
        (Some(NamedGroup::secp256r1), "secp256r1"),
        (Some(NamedGroup::secp384r1), "secp384r1"),
    ] {
        let client = TlsClient::new(&pki, &Choice { group, ..Choice::default() });
        let facts = client.get(&site, "/facts").await.unwrap();
        assert!(facts.contains(&format!("key_exchange_group: Some({name:?})")), "{facts}");
    }
}

#[tokio::test]
async fn the_application_protocol_is_the_clients_choice_and_http1_without_one() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    for alpn in [&[] as &[&str], &["http/1.1"], &["spdy/3", "http/1.1"]] {
        let client = TlsClient::new(&pki, &Choice { alpn, ..Choice::default() });
        assert!(client.get(&site, "/facts").await.unwrap().starts_with("HTTP/1.1 200"));
    }
    let client = TlsClient::new(&pki, &Choice { alpn: &["spdy/3"], ..Choice::default() });
    let refused = client.get(&site, "/facts").await.unwrap_err();
    assert_eq!(alert(&refused), Some(AlertDescription::NoApplicationProtocol));
    let ca_file = pki.ca_file();
    for (flag, version) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200 OK")] {
        let output =
            curl(&[flag, "--cacert", ca_file.to_str().unwrap(), "-d", "hello", &site.url("/echo")]).await;
        assert!(output.contains(version), "{output}");
        assert!(output.ends_with("hello"), "{output}");
    }
}

#[tokio::test]
async fn http2_keeps_its_connection_whatever_becomes_of_a_stream() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    let mut sender = TlsClient::new(&pki, &Choice { alpn: &["h2"], ..Choice::default() }).http2(&site).await;
    for (path, body, answer) in [
        ("/authority", String::new(), (200, format!("localhost:{}", site.address.port()))),
        ("/echo", "x".repeat(BODY_BYTES_MAX), (200, "x".repeat(BODY_BYTES_MAX))),
        ("/echo", "x".repeat(BODY_BYTES_MAX + 1), (413, "too large".to_owned())),
        ("/ignore", "x".repeat(1_000_000), (404, "ignored".to_owned())),
        ("/panic", String::new(), (500, String::new())),
        ("/echo", "hello".to_owned(), (200, "hello".to_owned())),
    ] {
        assert_eq!(send(&mut sender, post(&site, path, body)).await.unwrap(), answer, "{path}");
    }
    let mut large_head = post(&site, "/echo", "");
    large_head.headers_mut().insert("x", "x".repeat(40 * 1024).parse().unwrap());
    assert_eq!(send(&mut sender, large_head).await.unwrap().0, 431);
    assert_eq!(send(&mut sender, post(&site, "/echo", "hello")).await.unwrap().0, 200);
    assert_eq!(site.recorder.events().iter().filter(|event| **event == Event::Opened).count(), 1);
}

#[tokio::test]
async fn http2_requests_run_side_by_side() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    let mut sender = TlsClient::new(&pki, &Choice { alpn: &["h2"], ..Choice::default() }).http2(&site).await;
    let mut other = sender.clone();
    let waiting = send(&mut sender, post(&site, "/wait", ""));
    let overtaking = async {
        site.application.waiting.subscribe().wait_for(|waiting| *waiting == 1).await.unwrap();
        let answer = send(&mut other, post(&site, "/echo", "hello")).await.unwrap();
        site.application.gate.add_permits(1);
        answer
    };
    let (waited, overtook) = tokio::join!(waiting, overtaking);
    assert_eq!(overtook, (200, "hello".to_owned()));
    assert_eq!(waited.unwrap(), (200, "waited".to_owned()));
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_dropped() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    let mut client = site.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut client).await.unwrap();
    assert!(!answer.contains("HTTP"), "{answer}");
    site.recorder.saw(Event::HandshakeFailed(HandshakeFailure::Malformed)).await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut() {
    let pki = Pki::new();
    let switch = Arc::new(TlsSwitch::new(load(&pki.tls_files())));
    let limits = Limits { tls_handshake_timeout: Duration::from_millis(20), ..limits() };
    let site = Site::start(Some(switch), limits);
    let mut client = site.connect().await;
    assert_eq!(read_to_end(&mut client).await.unwrap(), "");
    site.recorder.saw(Event::HandshakeFailed(HandshakeFailure::TimedOut)).await;
}

#[tokio::test]
async fn a_port_check_is_a_disconnect() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    drop(site.connect().await);
    site.recorder.saw(Event::HandshakeFailed(HandshakeFailure::Disconnected)).await;
}

#[tokio::test]
async fn a_session_is_resumed_until_the_settings_are_replaced() {
    let pki = Pki::new();
    let files = pki.tls_files();
    for version in VERSIONS {
        let site = Site::tls(&files);
        let client = TlsClient::new(&pki, &Choice { version: Some(version), ..Choice::default() });
        client.get(&site, "/").await.unwrap();
        client.get(&site, "/").await.unwrap();
        site.recorder.saw(Event::HandshakeCompleted { is_resumed: true }).await;
        site.tls.as_ref().unwrap().replace(load(&files));
        client.get(&site, "/").await.unwrap();
        site.recorder.saw_times(Event::HandshakeCompleted { is_resumed: false }, 2).await;
    }
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_disturbs_no_old_one() {
    let pki = Pki::new();
    let site = Site::tls(&pki.tls_files());
    let client = TlsClient::new(&pki, &Choice { alpn: &["h2"], ..Choice::default() });
    let mut old = client.http2(&site).await;
    send(&mut old, post(&site, "/echo", "hello")).await.unwrap();
    let renewed = pki.issue("renewed", &server_params(), KeyPair::generate().unwrap());
    let renewed = load(&tls_files(renewed));
    assert_eq!(renewed.certificate().file.file_name().unwrap(), "renewed.pem");
    site.tls.as_ref().unwrap().replace(renewed);
    assert_eq!(send(&mut old, post(&site, "/echo", "hello")).await.unwrap().0, 200);
    let stream = client.connect(&site).await.unwrap();
    let presented = stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone();
    let pem = std::fs::read(pki.folder.path().join("renewed.pem")).unwrap();
    let expected = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
    assert_eq!(presented, expected);
}

#[test]
fn the_facts_of_a_certificate_are_read() {
    let pki = Pki::new();
    let mut params = server_params();
    params.not_before = rcgen::date_time_ymd(2030, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let server = pki.issue("dated", &params, KeyPair::generate().unwrap());
    let chain =
        format!("{}{}", std::fs::read_to_string(&server.certificate_file).unwrap(), pki.authority.pem());
    std::fs::write(&server.certificate_file, chain).unwrap();
    let settings = load(&tls_files(server));
    let facts = settings.certificate();
    assert_eq!(facts.subject, "CN=localhost");
    assert_eq!(facts.dns_names, ["localhost"]);
    assert_eq!(facts.chain_length, 2);
    assert_eq!(facts.not_before_unix_seconds, 1_893_456_000);
    assert_eq!(facts.not_after_unix_seconds, 2_208_988_800);
    assert_eq!(facts.validity(1_893_455_999), Validity::NotYetValid);
    assert_eq!(facts.validity(1_893_456_000), Validity::Valid);
    assert_eq!(facts.validity(2_208_988_800), Validity::Valid);
    assert_eq!(facts.validity(2_208_988_801), Validity::Expired);
}

/// PKCS#8 is what every other test uses.
#[test]
fn keys_in_the_older_formats_are_read() {
    let pki = Pki::new();
    let rsa_key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    for (server, kind, header) in [
        (pki.issue("rsa", &server_params(), rsa_key), "rsa", "BEGIN RSA PRIVATE KEY"),
        (pki.server(), "ec", "BEGIN EC PRIVATE KEY"),
    ] {
        let key_file = server.key_file.clone();
        let mut openssl = Command::new("openssl");
        openssl.arg(kind).arg("-in").arg(&key_file).arg("-out").arg(&key_file);
        if kind == "rsa" {
            openssl.arg("-traditional");
        }
        assert!(openssl.output().expect("openssl is installed").status.success());
        assert!(std::fs::read_to_string(&key_file).unwrap().contains(header));
        load(&tls_files(server));
    }
}

#[test]
fn files_that_cannot_serve_are_refused_with_the_reason() {
    let pki = Pki::new();
    let good = pki.tls_files();
    let other = pki.issue("other", &server_params(), KeyPair::generate().unwrap());
    let leaf = std::fs::read_to_string(&good.certificate_file).unwrap();
    let unordered = pki.write("unordered", &format!("{leaf}{leaf}{}", pki.authority.pem()), "");
    let garbage =
        pki.write("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "nothing");
    let with = |certificate_file, private_key_file| TlsFiles {
        certificate_file,
        private_key_file,
        client_auth: None,
    };
    let reason = |files: &TlsFiles| {
        let error = TlsSettings::load(files, Arc::new(SystemClock)).err().expect("refused");
        (error.to_string().replace(&pki.folder.path().display().to_string(), ""), error)
    };
    let (key, certificate) = (good.private_key_file.clone(), good.certificate_file.clone());

    let (text, error) = reason(&with("/absent.pem".into(), key.clone()));
    assert!(text.starts_with("cannot read `/absent.pem`: "), "{text}");
    assert!(matches!(error, TlsError::Io { .. }));
    let (text, _) = reason(&with(certificate.clone(), other.key_file));
    assert_eq!(text, "the key in `/other-key.pem` does not belong to the first certificate in `/server.pem`");
    let (text, _) = reason(&with(unordered.certificate_file, key.clone()));
    assert_eq!(text, "`/unordered.pem` is out of order: certificate 2 did not issue the one before it");
    let (text, _) = reason(&with(garbage.certificate_file, key.clone()));
    assert_eq!(text, "certificate 1 in `/garbage.pem` is not an X.509 certificate");
    let (text, _) = reason(&with(certificate.clone(), garbage.key_file.clone()));
    assert!(text.starts_with("no PEM private key in `/garbage-key.pem`"), "{text}");
    let (text, _) = reason(&with(garbage.key_file, key.clone()));
    assert!(text.starts_with("no PEM certificate in `/garbage-key.pem`"), "{text}");
    // Swapped.
    let (text, _) = reason(&with(key, certificate));
    assert!(text.starts_with("no PEM certificate in `/server-key.pem`"), "{text}");
}
