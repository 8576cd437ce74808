//! `holdfast doctor`: what is broken in a real installation is found, and its fix is said.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use holdfast::config::environment;
use holdfast::doctor::{CONNECTION_ERRORS, Group, diagnoses};
use serde_json::Value;

use crate::support::pki::{Pki, write_private};
use crate::support::site::PIN;
use crate::support::{Setup, Site};

/// The exit status, and what was found.
fn doctor(site: &Site, arguments: &[&str]) -> (i32, Vec<Value>) {
    let output = site.holdfast(&[&["doctor", "--json", "--samples", "3"], arguments].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let findings = report["findings"].as_array().unwrap().clone();
    for finding in &findings {
        let [looked_at, seen] = ["looked_at", "seen"].map(|member| finding[member].as_str().unwrap());
        assert!(!seen.starts_with(looked_at), "what was looked at is said twice: {finding}");
    }
    (output.status.code().unwrap(), findings)
}

/// The worst of one diagnosis: its verdict and what was seen.
fn worst(findings: &[Value], id: &str) -> (String, String) {
    let rank = |finding: &&Value| {
        ["unchecked", "ok", "warning", "error"].iter().position(|word| finding["verdict"] == **word)
    };
    let of_id = findings.iter().filter(|finding| finding["id"] == id);
    let finding = of_id.max_by_key(rank).unwrap_or_else(|| panic!("nothing is said about {id}"));
    let text = |member: &str| finding[member].as_str().unwrap().to_owned();
    assert!(!text("fix").is_empty());
    (text("verdict"), text("seen"))
}

#[track_caller]
fn assert_verdict(findings: &[Value], id: &str, expected: &str) {
    let (verdict, seen) = worst(findings, id);
    assert_eq!(verdict, expected, "{id}: {seen}");
}

#[test]
fn an_installation_that_is_well_has_no_error() {
    let site = Site::prepare(&Setup::default());
    let (status, findings) = doctor(&site, &[]);
    assert_eq!(status, 0, "{findings:#?}");
    for id in [
        "configuration-content",
        "files-secrets",
        "certificate-key",
        "hsm-login",
        "hsm-self-test",
        "hsm-latency",
        "key-found",
    ] {
        assert_verdict(&findings, id, "ok");
    }
    assert_verdict(&findings, "state-lock", "warning");
    assert_verdict(&findings, "daemon-ready", "unchecked");
    // For people.
    let text = site.holdfast_ok(&["doctor", "--only", "hsm", "--samples", "3"]);
    assert!(text.contains("hsm-login") && !text.contains('\u{1b}') && !text.contains(PIN), "{text}");
}

/// What breaks something in an installation that is well.
type Break = fn(&Site);

fn edit(site: &Site, from: &str, to: &str) {
    site.edit_configuration(|text| {
        assert!(text.contains(from));
        text.replacen(from, to, 1)
    });
}

fn set_mode(site: &Site, name: &str, mode: u32) {
    std::fs::set_permissions(site.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

fn expired(site: &Site) {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let (certificate, key) = site.pki.issue(params);
    std::fs::write(site.path("server.pem"), certificate).unwrap();
    write_private(&site.path("server.key"), &key);
}

const BREAKS: [(&str, Break); 13] = [
    ("configuration-file", |site| edit(site, "state_dir =", "unknown = 1\nstate_dir =")),
    ("configuration-content", |site| edit(site, "\"ca.pem\"", "\"nowhere.pem\"")),
    ("files-secrets", |site| set_mode(site, "pin", 0o644)),
    ("files-configuration", |site| set_mode(site, "holdfast.toml", 0o666)),
    ("files-state-dir", |site| std::fs::write(site.path("state"), "").unwrap()),
    ("certificate-key", |site| write_private(&site.path("server.key"), &Pki::new("Other").server().1)),
    ("certificate-chain", |site| {
        let chain = site.read("server.pem") + &Pki::new("Other").ca_pem;
        std::fs::write(site.path("server.pem"), chain).unwrap();
    }),
    ("certificate-dates", expired),
    ("credential-count", |site| write_private(&site.path("credentials.toml"), "")),
    ("hsm-login", |site| set_mode(site, "pin", 0o644)),
    ("hsm-library", |site| edit(site, "softhsm/libsofthsm2.so", "softhsm/nowhere.so")),
    ("hsm-token", |site| edit(site, "token_label = \"holdfast\"", "token_label = \"other\"")),
    ("hsm-self-test", |site| edit(site, "pin_file = \"pin\"", "pin_file = \"pin\"\niv_mode = \"hsm\"")),
];

#[test]
fn what_is_broken_is_found() {
    let site = Site::prepare(&Setup::default());
    let names = ["holdfast.toml", "pin", "server.pem", "server.key", "credentials.toml"];
    let well: Vec<_> = names.iter().map(|name| (name, site.read(name))).collect();
    for (id, break_it) in BREAKS {
        break_it(&site);
        let (status, findings) = doctor(&site, &[]);
        assert_verdict(&findings, id, "error");
        assert_eq!(status, 1, "{id}");
        for (name, content) in &well {
            site.replace(name, content);
        }
        if site.path("state").is_file() {
            std::fs::remove_file(site.path("state")).unwrap();
        }
    }
    let (status, findings) = doctor(&site, &[]);
    assert_eq!(status, 0, "{findings:#?}");
}

#[test]
fn a_secret_that_is_not_there_is_said_to_be_missing() {
    let site = Site::prepare(&Setup::default());
    std::fs::remove_file(site.path("pin")).unwrap();
    let (_, findings) = doctor(&site, &["--only", "files,configuration"]);
    let missing = ("error".to_owned(), "there is no such file".to_owned());
    assert_eq!(worst(&findings, "files-secrets"), missing);
    assert!(worst(&findings, "configuration-content").1.starts_with("hsm `softhsm`: "));
    // A configuration that is named from where one is.
    let (_, findings) = doctor(&site, &["--only", "configuration", "--config", "nowhere.toml"]);
    assert!(worst(&findings, "configuration-file").1.starts_with("file: "));
    std::fs::create_dir(site.path("state")).unwrap();
    std::fs::write(site.path("state/blocked.json"), "{").unwrap();
    let (_, findings) = doctor(&site, &["--only", "daemon"]);
    assert!(worst(&findings, "daemon-blocked").1.starts_with("blocked.json: "));
}

#[test]
fn a_pin_that_was_refused_is_not_tried_again() {
    let site = Site::prepare(&Setup::default());
    write_private(&site.path("pin"), "a wrong one");
    let (_, findings) = doctor(&site, &["--only", "hsm"]);
    assert_verdict(&findings, "hsm-login", "error");
    let (status, findings) = doctor(&site, &["--only", "hsm", "--only", "state"]);
    assert_eq!(status, 1);
    // It was this installation that tried it, and not somebody who is to be found.
    assert_eq!(worst(&findings, "hsm-pin"), ("error".to_owned(), "the PIN was refused before".to_owned()));
    let pin = diagnoses().find(|diagnosis| diagnosis.id == "hsm-pin").unwrap();
    assert!(pin.fix.starts_with("Refused before: ") && pin.fix.contains("`state-refused-pin`"));
    assert_verdict(&findings, "hsm-login", "unchecked");
    assert_verdict(&findings, "state-refused-pin", "error");
}

#[test]
fn keys_are_looked_at() {
    let site = Site::prepare(&Setup::default());
    let (_, findings) = doctor(&site, &["--only", "keys"]);
    let (verdict, seen) = worst(&findings, "key-usable");
    assert_eq!(verdict, "warning");
    assert!(seen.contains("encrypt_only_key") && seen.contains("impotent_key"), "{seen}");
    assert_verdict(&findings, "key-protected", "ok");
    assert_verdict(&findings, "key-distinct", "ok");
    assert!(findings.iter().all(|finding| finding["group"] == "keys"));
    site.holdfast_ok(&["key", "disable", "foo"]);
    site.holdfast_ok(&["key", "block", "foo"]);
    let (_, findings) = doctor(&site, &["--only", "keys", "--only", "daemon"]);
    assert!(worst(&findings, "key-usable").1.contains("disabled: foo"));
    assert_verdict(&findings, "daemon-blocked", "warning");
}

#[test]
fn an_endpoint_is_looked_at_as_aws_kms_would() {
    let site = Site::start();
    let port = site.port;
    let ca = site.path("ca.pem").display().to_string();
    let at = |url: &str, more: &[&str]| doctor(&site, &[&["--ca", &ca, "--endpoint", url], more].concat());
    let (status, findings) = at(&format!("https://localhost:{port}/test"), &[]);
    // The authority is ours, which AWS KMS would not trust.
    assert_verdict(&findings, "certificate-authority", "error");
    assert_eq!(status, 1);
    for id in [
        "endpoint-dns",
        "endpoint-tcp",
        "endpoint-tls",
        "endpoint-path",
        "endpoint-signature",
        "endpoint-health",
        "certificate-suites",
        "certificate-name",
        "daemon-ready",
        "state-lock",
    ] {
        assert_verdict(&findings, id, "ok");
    }
    // Who is logged in already is asked, and nobody else logs in.
    assert_verdict(&findings, "hsm-login", "unchecked");
    assert_verdict(&findings, "endpoint-url", "warning");
    assert_verdict(&findings, "endpoint-mtls", "warning");
    let (_, findings) = doctor(&site, &["--only", "hsm", "--log-in"]);
    assert_verdict(&findings, "hsm-login", "ok");

    let only = ["--only", "endpoint"];
    let (_, findings) = at(&format!("https://localhost:{port}/another"), &only);
    assert_verdict(&findings, "endpoint-path", "error");
    let (_, findings) = at(&format!("https://localhost:{}/test", site.mtls_port), &only);
    assert_verdict(&findings, "endpoint-mtls", "ok");
    let elsewhere = [&only[..], &["--config", "nowhere.toml"]].concat();
    let (status, findings) = at(&format!("https://localhost:{}/test", site.mtls_port), &elsewhere);
    assert_verdict(&findings, "endpoint-mtls", "ok");
    assert_verdict(&findings, "endpoint-health", "unchecked");
    assert_eq!(status, 0, "{findings:#?}");
    let (_, findings) = at("https://localhost:1", &only);
    assert_verdict(&findings, "endpoint-tcp", "error");
    assert_verdict(&findings, "endpoint-health", "unchecked");
    let (_, findings) = at("https://nowhere.invalid", &only);
    assert_verdict(&findings, "endpoint-dns", "error");
    let (_, findings) =
        doctor(&site, &["--only", "endpoint", "--endpoint", &format!("https://localhost:{port}/test")]);
    assert_verdict(&findings, "endpoint-tls", "error");
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["doctor", "--only", "endpoint", "--endpoint", &format!("https://localhost:{port}/test")])
        .env("HOLDFAST_CONFIG", site.path("holdfast.toml"))
        .env("HOLDFAST_CA", &ca)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (_, findings) = at(&format!("https://127.0.0.1:{port}/test"), &["--only", "certificates"]);
    assert_verdict(&findings, "certificate-name", "error");
}

#[test]
fn what_the_daemon_refused_is_explained() {
    let site = Site::start();
    site.key_metadata("nobody").assert_error(404, "KeyNotFoundException");
    // Nobody is served by this key store.
    let (status, findings) = doctor(&site, &["--only", "daemon"]);
    assert_verdict(&findings, "daemon-key-not-found", "error");
    assert_eq!(status, 1);
    site.key_metadata("foo").assert_ok();
    let (_, findings) = doctor(&site, &[]);
    assert_verdict(&findings, "daemon-key-not-found", "warning");
    assert_verdict(&findings, "daemon-ciphertext", "ok");
    assert_verdict(&findings, "credential-used", "ok");
    assert_verdict(&findings, "clock-skew", "ok");
    // A secret that differs from the daemon's, as it would at AWS KMS.
    let other = site.read("credentials.toml").replace("0123456789abcdef", "fedcba9876543210");
    write_private(&site.path("other-credentials.toml"), &other);
    let configuration =
        site.read("holdfast.toml").replace("\"credentials.toml\"", "\"other-credentials.toml\"");
    write_private(&site.path("other.toml"), &configuration);
    let (config, ca) =
        (site.path("other.toml").display().to_string(), site.path("ca.pem").display().to_string());
    let url = format!("https://localhost:{}/test", site.port);
    let (_, findings) =
        doctor(&site, &["--config", &config, "--only", "endpoint", "--ca", &ca, "--endpoint", &url]);
    let (verdict, seen) = worst(&findings, "endpoint-signature");
    assert_eq!(verdict, "error");
    assert!(seen.contains("refused here and at the listener"), "{seen}");
}

/// What `daemon` says of an installation whose daemon is not ready for this reason.
fn of_unready(reason: &str, break_it: Break) -> Vec<Value> {
    let site = Site::prepare(&Setup::default());
    break_it(&site);
    site.run();
    site.wait_until(reason, || site.admin("/readyz").is_some_and(|(_, text)| text.contains(reason)));
    let (status, findings) = doctor(&site, &["--only", "daemon"]);
    assert_eq!(status, 1);
    assert_verdict(&findings, "daemon-ready", "error");
    // It is neither the HSM nor its link.
    assert!(findings.iter().all(|finding| finding["id"] != "daemon-hsm-state"), "{findings:#?}");
    findings
}

#[test]
fn the_fix_is_that_of_the_reason_why_an_hsm_does_not_serve() {
    let findings = of_unready("the health key", |site| {
        edit(site, "pin_file = \"pin\"", "pin_file = \"pin\"\nhealth_key = \"pulse\"");
    });
    let (verdict, seen) = worst(&findings, "daemon-health-key");
    assert_eq!(verdict, "error");
    assert!(seen.contains("`holdfast key create --hsm softhsm pulse`"), "{seen}");
    assert_verdict(&findings, "daemon-pin", "ok");
    let findings = of_unready("refused the PIN", |site| write_private(&site.path("pin"), "a wrong one"));
    assert_verdict(&findings, "daemon-pin", "error");
    assert_verdict(&findings, "daemon-token", "ok");
    let findings = of_unready("no token is labelled", |site| {
        edit(site, "token_label = \"holdfast\"", "token_label = \"other\"");
    });
    assert_verdict(&findings, "daemon-token", "error");
    assert_verdict(&findings, "daemon-health-key", "ok");
}

/// Changes are refused, though the trail can be written and the disk of `state_dir` has room.
#[test]
fn an_audit_trail_with_too_little_room_is_found() {
    let setup = Setup::kms();
    let audit = format!("[kms.audit]\ndir = \"trail\"\nfree_bytes_min = {}\n", 1_u64 << 50);
    let site = Site::start_with(&Setup { kms: setup.kms.map(|kms| audit + &kms), ..setup });
    site.wait_until("a look at the disk", || site.metric("holdfast_audit_free_bytes") > Some(0.0));
    let (status, findings) = doctor(&site, &["--only", "state,daemon"]);
    assert_eq!(status, 1);
    assert_verdict(&findings, "daemon-audit", "error");
    let disk = |folder: &str| {
        let looked_at = site.path(folder).display().to_string();
        let mut of_disk = findings.iter().filter(|finding| finding["id"] == "state-disk");
        of_disk.find(|finding| finding["looked_at"] == *looked_at).unwrap()["verdict"].clone()
    };
    assert_eq!(disk("trail"), "error");
    assert_ne!(disk("state"), "error");
}

#[test]
fn a_database_that_is_none_is_found() {
    let site = Site::prepare(&Setup::kms());
    std::fs::create_dir_all(site.path("state")).unwrap();
    write_private(&site.path("state/kms.db"), &"this is no database ".repeat(100));
    let (status, findings) = doctor(&site, &["--only", "state"]);
    assert_verdict(&findings, "state-schema", "error");
    assert_eq!(status, 1);
    // What cannot be opened may be whole: no backup is brought back for it.
    std::fs::remove_file(site.path("state/kms.db")).unwrap();
    std::fs::create_dir(site.path("state/kms.db")).unwrap();
    let (_, findings) = doctor(&site, &["--only", "state"]);
    assert_verdict(&findings, "state-integrity", "unchecked");
}

/// What the page has from the table.
fn tables() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _infallible = write!(
            text,
            "### {}\n\n| Finding | If all is well | If not |\n| --- | --- | --- |\n",
            group.name()
        );
        for diagnosis in diagnoses().filter(|diagnosis| diagnosis.group == group) {
            let cell = |text: &str| text.replace('|', "\\|");
            let (title, fix) = (cell(diagnosis.title), cell(diagnosis.fix));
            let _infallible = writeln!(text, "| `{}` | {title} | {fix} |", diagnosis.id);
        }
        text.push('\n');
    }
    text.push_str("## Why a custom key store is FAILED\n\n| Code | Meaning | Then |\n| --- | --- | --- |\n");
    for (code, meaning, fix) in CONNECTION_ERRORS {
        let _infallible = writeln!(text, "| `{code}` | {meaning} | {fix} |");
    }
    text
}

/// `UPDATE_GOLDEN=1` writes the tables anew.
#[test]
fn the_page_about_trouble_has_every_diagnosis() {
    const HEAD: &str = "## Every finding\n\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to/troubleshoot.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, found) = page.split_once(HEAD).unwrap();
    if environment::variable("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{before}{HEAD}{}", tables())).unwrap();
    } else {
        assert_eq!(found, tables());
    }
    let ids: BTreeSet<_> = diagnoses().map(|diagnosis| diagnosis.id).collect();
    let named = before.split('`').skip(1).step_by(2);
    let groups: Vec<_> = Group::ALL.iter().map(|group| format!("{}-", group.name())).collect();
    for id in named.filter(|name| groups.iter().any(|group| name.starts_with(group.as_str()))) {
        assert!(ids.contains(id), "{id}");
    }
}
