//! `holdfast check`, set up like the official client, against the daemon.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::pki::write_private;
use crate::support::site::{ACCESS_KEY_ID, CLIENT_CN, SECRET_ACCESS_KEY};
use crate::support::{Setup, Site};

/// `holdfast check` with the whole environment of the official client; `changes` come last.
pub fn check(site: &Site, arguments: &[&str], changes: &[(&str, &str)]) -> Output {
    let (certificate, key) = site.pki.client(CLIENT_CN);
    std::fs::write(site.path("client.pem"), certificate).unwrap();
    write_private(&site.path("client.key"), &key);
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .arg("check")
        .args(arguments)
        .env_clear()
        .env("XKS_PROXY_HOST", site.host())
        .env("XKS_PROXY_HOST_MTLS", format!("localhost:{}", site.mtls_port))
        .env("URI_PREFIX", "test")
        .env("SIGV4_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .env("SIGV4_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .env("REGION", "us-east-1")
        .env("KEY_ID", "foo")
        .env("ENCRYPT_ONLY_KEY_ID", "encrypt_only_key")
        .env("DECRYPT_ONLY_KEY_ID", "decrypt_only_key")
        .env("IMPOTENT_KEY_ID", "impotent_key")
        .env("HOLDFAST_CA", site.path("ca.pem"))
        .env("HOLDFAST_CLIENT_CERT", site.path("client.pem"))
        .env("HOLDFAST_CLIENT_KEY", site.path("client.key"))
        .envs(changes.iter().copied())
        .output()
        .unwrap()
}

fn report_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn cases<'a>(report: &'a Value, verdict: &str) -> Vec<&'a Value> {
    report["cases"].as_array().unwrap().iter().filter(|case| case["verdict"] == verdict).collect()
}

#[test]
fn the_daemon_conforms() {
    let site = Site::start();
    let output = check(&site, &["--json"], &[]);
    let report = report_of(&output);
    let empty: Vec<&Value> = Vec::new();
    for verdict in ["fail", "warn", "skip"] {
        assert_eq!(cases(&report, verdict), empty, "{verdict}");
    }
    assert_eq!(
        (&report["failed"], &report["conforming"], output.status.code()),
        (&0.into(), &true.into(), Some(0))
    );
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!said.contains(SECRET_ACCESS_KEY));
}

#[test]
fn a_table_is_for_people() {
    let site = Site::start();
    let output = check(&site, &["--only", "health"], &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.lines().last().unwrap().contains(" 0 failed"), "{table}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_key_id_does_not_conform() {
    let site = Site::start();
    let output = check(&site, &["--json"], &[("KEY_ID", "nobody")]);
    let report = report_of(&output);
    assert_eq!((&report["conforming"], output.status.code()), (&false.into(), Some(1)));
    assert!(cases(&report, "fail").iter().all(|case| case["expected"].is_string()), "{report}");
}

#[test]
fn a_wrong_secret_does_not_conform() {
    let site = Site::start();
    let output = check(&site, &["--json"], &[("SIGV4_SECRET_ACCESS_KEY", "another")]);
    assert_eq!((&report_of(&output)["conforming"], output.status.code()), (&false.into(), Some(1)));
}

#[test]
fn a_proxy_that_nobody_reaches_is_not_judged() {
    let site = Site::prepare(&Setup::default());
    let output = check(&site, &["--json"], &[]);
    let (said, reason) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((&*said, output.status.code()), ("", Some(1)), "{reason}");
    assert!(reason.contains("no connection to `localhost:") && reason.lines().count() == 1, "{reason}");
}

/// A verdict on time is also one on the machine, which other tests keep busy: one good run is enough. Every run
/// answers every request.
#[test]
fn a_rate_is_kept() {
    let site = Site::start();
    site.wait_until("a rate that is kept", || {
        let arguments = ["--rate", "200", "--seconds", "2", "--connections", "4", "--json"];
        let output = check(&site, &arguments, &[]);
        let report = report_of(&output);
        assert_eq!((&report["answered"], &report["errors"]), (&400.into(), &json!({})));
        output.status.success()
    });
}
