//! What load balancers and machines beside the daemon may ask.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::{Setup, Site};

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_prometheus_elsewhere_is_told_the_metrics_and_nothing_else() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let admin = format!("metrics_listen = \"127.0.0.1:{port}\"");
    let site = Site::start_with(&Setup { admin, ..Setup::default() });
    assert!(get(port, "/metrics").contains("holdfast_hsm_"));
    for path in ["/livez", "/readyz", "/", "/dev/clock"] {
        assert!(get(port, path).starts_with("HTTP/1.1 404"), "{path}");
    }
    drop(site);
}

#[test]
fn holdfast_ready_says_what_the_daemon_says_and_why() {
    let health = "probe_interval_seconds = 1".to_owned();
    let site = Site::start_with(&Setup { health, ..Setup::default() });
    assert_eq!(site.holdfast_ok(&["ready"]), "ready\n");
    assert_eq!(site.holdfast_ok(&["ready", "--live"]), "alive\n");
    let address = format!("127.0.0.1:{}", site.admin_port);
    let right = site.read("holdfast.toml");
    std::fs::write(site.path("holdfast.toml"), format!("{right}\nkeys = [\"a]\n[[listener")).unwrap();
    assert_eq!(site.holdfast_ok(&["ready"]), "ready\n", "a wrong file does not make a daemon ill");
    std::fs::write(site.path("holdfast.toml"), right.replace(&address, "nowhere")).unwrap();
    let output = site.holdfast(&["ready"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().count() == 2 && said.contains("holdfast.toml: admin: `listen` "), "{said}");
    assert!(said.contains("`--address`"), "{said}");
    assert_eq!(site.holdfast_ok(&["ready", "--address", &address]), "ready\n");
    std::fs::write(site.path("holdfast.toml"), right).unwrap();
    std::fs::rename(site.path("tokens"), site.path("tokens.away")).unwrap();
    site.wait_until("not ready", || !site.holdfast(&["ready"]).status.success());
    let output = site.holdfast(&["ready"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("HSM softhsm"), "{output:?}");
    assert_eq!(site.holdfast_ok(&["ready", "--live"]), "alive\n");
    site.stop();
    let output = site.holdfast(&["ready"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("holdfast: no daemon answers at 127.0.0.1:"), "{said}");
}

/// Rows 14.1 and 14.2.
#[test]
fn a_load_balancer_is_told_yes_or_no_and_nothing_else() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let setup = Setup {
        admin: format!("probe_listen = \"127.0.0.1:{port}\""),
        health: "probe_interval_seconds = 1".to_owned(),
        ..Setup::default()
    };
    let site = Site::start_with(&setup);
    assert!(get(port, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").starts_with("HTTP/1.1 200"));
    for path in ["/metrics", "/", "/test/kms/xks/v1/health"] {
        assert!(get(port, path).starts_with("HTTP/1.1 404"), "{path}");
    }
    std::fs::rename(site.path("tokens"), site.path("tokens.away")).unwrap();
    site.wait_until("not ready", || get(port, "/readyz").starts_with("HTTP/1.1 503"));
    assert!(!get(port, "/readyz").contains("HSM"), "reasons are for the admin listener");
    assert!(get(port, "/livez").starts_with("HTTP/1.1 200"));
    let (status, reasons) = site.admin("/readyz").unwrap();
    assert!(status == 503 && reasons.contains("HSM softhsm"), "{reasons}");
}
