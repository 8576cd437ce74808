//! The count of GCM encryptions a key version: NIST SP 800-38D allows 2^32 with random IVs.

use serde_json::{Value, json};

use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";

fn count(site: &Site, version: u32) -> Option<f64> {
    site.metric(&format!(
        r#"holdfast_key_gcm_invocations_total{{external_key_id="foo",hsm="softhsm",version="{version}"}}"#
    ))
}

fn encrypt(site: &Site, times: usize) {
    (0..times).for_each(|_| _ = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok());
}

fn ledger(site: &Site) -> Value {
    serde_json::from_slice(&std::fs::read(site.path("state/invocations.json")).unwrap()).unwrap()
}

#[test]
fn the_count_of_each_version_survives_restarts_and_changes_of_state() {
    let site = Site::start();
    encrypt(&site, 3);
    assert_eq!((count(&site, 1), count(&site, 2)), (Some(3.0), None));
    site.holdfast_ok(&["key", "rotate", "foo"]);
    encrypt(&site, 2);
    site.holdfast_ok(&["key", "disable", "foo"]);
    site.holdfast_ok(&["key", "enable", "foo"]);
    encrypt(&site, 1);
    assert_eq!((count(&site, 1), count(&site, 2)), (Some(3.0), Some(3.0)));
    for _ in 0..2 {
        assert!(site.stop().success());
        site.run();
        site.wait_ready();
        assert_eq!((count(&site, 1), count(&site, 2)), (Some(3.0), Some(3.0)));
    }
    encrypt(&site, 1);
    assert_eq!(count(&site, 2), Some(4.0));
}

#[test]
fn the_count_survives_a_run_without_the_token() {
    let site = Site::start();
    encrypt(&site, 3);
    site.stop();
    std::fs::rename(site.path("tokens"), site.path("hidden")).unwrap();
    site.run();
    site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
    site.stop();
    std::fs::rename(site.path("hidden"), site.path("tokens")).unwrap();
    site.run();
    site.wait_ready();
    assert_eq!(count(&site, 1), Some(3.0));
}

#[test]
fn the_count_of_a_key_that_vanishes_and_comes_back_goes_on() {
    let site = Site::start();
    site.other_tool("make foreign");
    let foreign = || {
        site.metric(
            r#"holdfast_key_gcm_invocations_total{external_key_id="foreign",hsm="softhsm",version="0"}"#,
        )
    };
    (0..2).for_each(|_| _ = site.encrypt("foreign", PLAINTEXT, json!({})).assert_ok());
    for (from, to, count) in [("foreign", "hidden", None), ("hidden", "foreign", Some(2.0))] {
        site.other_tool(&format!("rename {from} {to}"));
        // Makes the daemon read the keys.
        site.holdfast_ok(&["key", "rotate", "foo"]);
        assert_eq!(foreign(), count);
    }
}

#[test]
fn a_version_that_is_used_up_decrypts_and_encrypts_no_more() {
    let site = Site::start();
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    site.stop();
    let mut counts = ledger(&site);
    for (_, count) in counts["softhsm"].as_object_mut().unwrap() {
        *count = json!(u32::MAX);
    }
    std::fs::write(site.path("state/invocations.json"), counts.to_string()).unwrap();
    site.run();
    site.wait_ready();
    encrypt(&site, 1);
    let refused = site.encrypt("foo", PLAINTEXT, json!({}));
    refused.assert_error(400, "InvalidStateException");
    assert!(refused.text("errorMessage").contains("2^32"));
    site.decrypt("foo", &encrypted, json!({})).assert_ok();
    site.holdfast_ok(&["key", "rotate", "foo"]);
    encrypt(&site, 1);
    site.decrypt("foo", &encrypted, json!({})).assert_ok();
    site.stop();
    assert!(
        site.log().contains("has used three quarters of its 2^32 encryptions: rotate it"),
        "{}",
        site.log()
    );
}

/// Counting from zero would forget how much is spent.
#[test]
fn a_ledger_that_cannot_be_read_stops_the_start() {
    let site = Site::prepare(&Setup::default());
    std::fs::create_dir_all(site.path("state")).unwrap();
    std::fs::write(site.path("state/invocations.json"), "{").unwrap();
    site.run();
    site.wait_until("the end", || site.exit_status().is_some());
    assert!(!site.exit_status().unwrap().success());
    assert!(site.log().contains("invocations.json"), "{}", site.log());
}
