//! A PIN that the HSM refuses is tried once: trying again locks users out of HSMs.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::pki::write_private;
use crate::support::site::PIN;
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";

fn write_pin(site: &Site, pin: &str) {
    let new: &Path = &site.path("pin.new");
    write_private(new, pin);
    std::fs::rename(new, site.path("pin")).unwrap();
}

fn pin_rejected(site: &Site) -> Option<f64> {
    site.metric(r#"holdfast_hsm_pin_rejected{hsm="softhsm"}"#)
}

fn state(site: &Site) -> Value {
    site.health().assert_ok().json()["ekmFleetDetails"][0]["healthStatus"].clone()
}

#[test]
fn a_command_with_a_wrong_pin_says_so_and_does_not_try_again() {
    let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
    write_pin(&site, "0000");
    let output = site.holdfast(&["key", "list"]);
    assert!(!output.status.success());
    let reason = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        reason.trim_end(),
        "holdfast: C_Login returned PinIncorrect; it is not tried again, since HSMs lock users"
    );
    assert_eq!(site.calls_of("C_Login"), 1);
}

/// Peer fault 7.
#[test]
fn a_wrong_pin_is_tried_once_until_it_is_another() {
    let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
    write_pin(&site, "0000");
    site.run();
    site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
    let probes = site.calls_of("C_GetSlotList");
    site.wait_until("many probes", || {
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
        site.calls_of("C_GetSlotList") > probes + 10
    });
    assert_eq!(site.calls_of("C_Login"), 1);
    assert_eq!(state(&site), "UNAVAILABLE");
    assert_eq!(pin_rejected(&site), Some(1.0));
    let (status, reason) = site.admin("/readyz").unwrap();
    let expected = "HSM softhsm: the HSM refused the PIN; it is not tried again until it changes\n";
    assert_eq!((status, reason.as_str()), (503, expected));
    // No session was left behind, try after try.
    let sessions = site.calls();
    assert_eq!(sessions["C_OpenSession"], sessions["C_CloseSession"], "{sessions:?}");

    // A reload without another PIN is no reason to try again.
    site.signal(Signal::HUP);
    site.wait_until("a reload", || {
        site.metric("holdfast_config_reloads_total{result=\"taken\"}") == Some(1.0)
    });
    let probes = site.calls_of("C_GetSlotList");
    site.wait_until("another probe", || site.calls_of("C_GetSlotList") > probes + 4);
    assert_eq!(site.calls_of("C_Login"), 1);

    write_pin(&site, PIN);
    site.signal(Signal::HUP);
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    assert_eq!(site.calls_of("C_Login"), 2);
    assert_eq!(pin_rejected(&site), Some(0.0));
    assert_eq!(state(&site), "ACTIVE");
}

#[test]
fn a_pin_that_was_changed_in_token_and_file_is_taken_up_without_a_restart() {
    let site = Site::start_with(&Setup { shim: true, ..Setup::default() });
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    site.other_tool("change-pin 987654");
    // The login of the running daemon is still good.
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    let logins = site.calls_of("C_Login");
    write_pin(&site, "987654");
    site.signal(Signal::HUP);
    site.wait_until("the new PIN", || site.calls_of("C_Login") > logins);
    site.wait_until("service", || site.decrypt("foo", &encrypted, json!({})).status == 200);
    assert_eq!(pin_rejected(&site), Some(0.0));
    assert_eq!(site.calls_of("C_Login"), logins + 1);
}

#[test]
fn codes_of_a_pin_that_cannot_be_used_are_told_from_other_failures_of_login() {
    for (code, logins_after) in [("CKR_PIN_EXPIRED", 1), ("CKR_PIN_LOCKED", 1), ("CKR_DEVICE_ERROR", 2)] {
        let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
        site.inject(&format!("C_Login code={code}"));
        site.run();
        site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
        let probes = site.calls_of("C_GetSlotList");
        site.wait_until("another probe", || site.calls_of("C_GetSlotList") > probes + 4);
        assert_eq!(site.calls_of("C_Login").min(2), logins_after, "{code}");
        assert_eq!(pin_rejected(&site), Some(if logins_after == 1 { 1.0 } else { 0.0 }), "{code}");
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
    }
}

/// A file that was refused; it says which version of the PIN file that was.
fn record(site: &Site) -> std::path::PathBuf {
    site.path("state/refused-pin-softhsm")
}

fn wait_for_probes(site: &Site) {
    site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
    let probes = site.calls_of("C_GetSlotList");
    site.wait_until("probes", || site.calls_of("C_GetSlotList") > probes + 4);
}

/// The same content, written at another time.
fn touch(site: &Site) {
    let file = std::fs::File::options().write(true).open(site.path("pin")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
}

/// systemd starts a daemon again that has ended, again and again.
#[test]
fn a_refused_pin_is_not_tried_again_after_a_restart_until_its_file_changes() {
    let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
    write_pin(&site, "0000");
    for logins in [1, 0, 0] {
        site.run();
        wait_for_probes(&site);
        assert_eq!(site.calls_of("C_Login"), logins);
        assert_eq!(pin_rejected(&site), Some(1.0));
        site.kill();
    }
    let refused = site.holdfast(&["key", "list"]);
    let reason = String::from_utf8(refused.stderr).unwrap();
    assert!(reason.contains("the HSM refused the PIN; it is not tried again until it changes"), "{reason}");
    assert_eq!(site.calls_of("C_Login"), 0, "no command tries it either");

    // Whoever touches the file wants another try: one.
    touch(&site);
    site.run();
    wait_for_probes(&site);
    assert_eq!(site.calls_of("C_Login"), 1);
    touch(&site);
    site.signal(Signal::HUP);
    site.wait_until("another try", || site.calls_of("C_Login") == 2);
    wait_for_probes(&site);
    assert_eq!(site.calls_of("C_Login"), 2);

    let known = std::fs::read_to_string(record(&site)).unwrap();
    assert!(!known.contains("0000\n") && known.split(' ').count() == 5, "{known}");
    write_pin(&site, PIN);
    site.signal(Signal::HUP);
    site.wait_ready();
    assert!(!record(&site).exists());
    assert_eq!(site.calls_of("C_Login"), 3);
}

fn pin_state(site: &Site) -> Vec<&'static str> {
    let all = ["fine", "to_be_changed", "count_low", "final_try", "locked"];
    let series = |state: &str| format!(r#"holdfast_hsm_pin_state{{hsm="softhsm",state="{state}"}}"#);
    all.into_iter().filter(|state| site.metric(&series(state)) == Some(1.0)).collect()
}

const FLAGS: [(&str, &str); 4] =
    [("0x80000", "to_be_changed"), ("0x10000", "count_low"), ("0x20000", "final_try"), ("0x40000", "locked")];

#[test]
fn what_the_token_says_of_the_pin_is_a_metric_and_in_the_log() {
    let site = Site::start_with(&Setup {
        shim: true,
        health: "probe_interval_seconds = 1".to_owned(),
        ..Setup::default()
    });
    assert_eq!(pin_state(&site), ["fine"]);
    for (flags, state) in FLAGS {
        site.inject(&format!("C_GetTokenInfo flags={flags}"));
        site.wait_until(state, || pin_state(&site) == [state]);
        let line = format!(r#""state":"{state}""#);
        site.wait_until(state, || site.log().lines().filter(|text| text.contains(&line)).count() == 1);
        // Who is logged in stays so.
        site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    }
    assert_eq!(site.calls_of("C_Login"), 1);
}

#[test]
fn the_last_try_is_left_to_the_operator_who_may_demand_it() {
    let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
    site.inject("C_GetTokenInfo flags=0x20000");
    site.run();
    wait_for_probes(&site);
    assert_eq!((site.calls_of("C_Login"), pin_state(&site)), (0, vec!["final_try"]));
    assert_eq!(pin_rejected(&site), Some(1.0));
    let (status, reason) = site.admin("/readyz").unwrap();
    assert!(status == 503 && reason.contains("`touch` the PIN file to have it tried"), "{reason}");
    touch(&site);
    site.signal(Signal::HUP);
    site.wait_ready();
    assert_eq!(site.calls_of("C_Login"), 1);
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}

#[test]
fn a_last_try_that_somebody_else_makes_good_is_ours_again() {
    let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
    site.inject("C_GetTokenInfo flags=0x40000");
    site.run();
    wait_for_probes(&site);
    site.inject("C_GetTokenInfo flags=0x20000");
    wait_for_probes(&site);
    assert_eq!(site.calls_of("C_Login"), 0);
    site.inject("");
    site.wait_ready();
    assert_eq!(site.calls_of("C_Login"), 1);
}

/// Some libraries say something general to a wrong PIN; the token counts it all the same.
#[test]
fn a_login_that_the_token_counts_is_never_tried_again_whatever_it_returns() {
    let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
    // The first four ask for the token before the login, twice each.
    site.inject("C_Login code=CKR_GENERAL_ERROR\nC_GetTokenInfo flags=0x10000 from=5");
    site.run();
    wait_for_probes(&site);
    assert_eq!((site.calls_of("C_Login"), pin_rejected(&site)), (1, Some(1.0)));
    let log = site.log();
    assert!(log.contains("C_Login returned GeneralError; a wrong user PIN was tried"), "{log}");
}
