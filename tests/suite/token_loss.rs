//! Tokens that vanish and come back, and modules and tokens that are not what the configuration says.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::second_hsm::{Behind, to_second};
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";

fn state(site: &Site) -> Value {
    site.health().assert_ok().json()["ekmFleetDetails"][0]["healthStatus"].clone()
}

fn is_served(site: &Site) -> bool {
    site.encrypt("foo", PLAINTEXT, json!({})).status == 200
}

/// The folder of the token with this label.
fn token_folder(site: &Site, label: &str) -> PathBuf {
    let folders = std::fs::read_dir(site.path("tokens")).unwrap().map(|entry| entry.unwrap().path());
    let has_label = |folder: &Path| {
        let token = std::fs::read(folder.join("token.object")).unwrap();
        token.windows(label.len()).any(|bytes| bytes == label.as_bytes())
    };
    folders.into_iter().find(|folder| has_label(folder)).unwrap()
}

/// Moves a folder away, until it is put back.
struct Away {
    folder: PathBuf,
    hidden: PathBuf,
}

impl Away {
    fn take(folder: PathBuf, site: &Site) -> Self {
        let hidden = site.path("hidden");
        std::fs::rename(&folder, &hidden).unwrap();
        Self { folder, hidden }
    }

    fn put_back(self) {
        std::fs::rename(self.hidden, self.folder).unwrap();
    }
}

/// Peer fault 3.
fn survives_the_loss_of(find_folder: impl Fn(&Site) -> PathBuf) {
    let site = Site::start_with(&Setup::default());
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    let pid = site.pid();
    let away = Away::take(find_folder(&site), &site);
    for _ in 0..5 {
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
        site.decrypt("foo", &encrypted, json!({})).assert_error(500, "InternalException");
    }
    site.wait_until("UNAVAILABLE", || state(&site) == "UNAVAILABLE");
    assert_eq!(site.admin_status("/readyz"), Some(503));
    // Nobody knows now whether there is such a key, or made one meanwhile.
    for _ in 0..5 {
        site.encrypt("another_key", PLAINTEXT, json!({})).assert_error(500, "InternalException");
        site.decrypt("foo", &encrypted, json!({})).assert_error(500, "InternalException");
        site.key_metadata("foo").assert_ok();
    }
    away.put_back();
    site.wait_until("service again", || is_served(&site));
    site.wait_until("ACTIVE", || state(&site) != "UNAVAILABLE");
    assert_eq!(site.decrypt("foo", &encrypted, json!({})).assert_ok().bytes("plaintext"), PLAINTEXT);
    site.encrypt("another_key", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
    assert_eq!(site.pid(), pid);
}

#[test]
fn a_token_that_is_lost_and_comes_back_is_used_again_without_a_restart() {
    survives_the_loss_of(|site| token_folder(site, "holdfast"));
}

#[test]
fn a_library_that_loses_all_tokens_is_used_again_without_a_restart() {
    survives_the_loss_of(|site| site.path("tokens"));
}

#[test]
fn losing_the_token_is_logged_once_with_the_name_of_the_hsm() {
    let site = Site::start();
    let away = Away::take(token_folder(&site, "holdfast"), &site);
    let events = |text: &str| {
        let log = site.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"].as_str().is_some_and(|message| message.starts_with(text))).collect::<Vec<_>>()
    };
    site.encrypt("foo", PLAINTEXT, json!({}));
    site.wait_until("a transition", || !events("HSM softhsm is UNAVAILABLE").is_empty());
    // While it is down it is probed again and again.
    let probes = site.metric(r#"holdfast_hsm_reinitializations_total{hsm="softhsm"}"#).unwrap();
    site.wait_until("more probes", || {
        site.metric(r#"holdfast_hsm_reinitializations_total{hsm="softhsm"}"#).unwrap() >= probes + 2.0
    });
    away.put_back();
    site.wait_until("a transition back", || !events("HSM softhsm is ACTIVE").is_empty());
    let down = events("HSM softhsm is UNAVAILABLE");
    assert_eq!((down.len(), down[0]["level"].as_str()), (1, Some("ERROR")), "{down:?}");
    assert_eq!((down[0]["hsm"].as_str(), down[0]["state"].as_str()), (Some("softhsm"), Some("UNAVAILABLE")));
    assert_eq!(down[0]["reason"], "no token is labelled `holdfast`");
    assert!(events("HSM fault").len() <= 6, "{:?}", events("HSM fault"));
}

#[test]
fn a_daemon_that_starts_without_its_token_is_not_ready_until_it_comes() {
    let site = Site::prepare(&Setup::default());
    for folder in [token_folder(&site, "holdfast"), site.path("tokens")] {
        let away = Away::take(folder, &site);
        site.run();
        site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
        assert_eq!(site.admin_status("/readyz"), Some(503));
        assert_eq!(state(&site), "UNAVAILABLE");
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
        site.key_metadata("foo").assert_error(500, "InternalException");
        away.put_back();
        site.wait_ready();
        site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
        assert_eq!(state(&site), "ACTIVE");
        site.stop();
    }
}

/// Initializing the library anew would heal the lost token and cost the other its sessions.
#[test]
fn a_lost_token_costs_its_neighbour_in_the_same_library_next_to_nothing() {
    let site = Site::start_with_second_hsm(Setup::quiet(1), Behind::SameModule);
    let to_second = || site.send_signed(&to_second(site.encrypt_request("foo")));
    to_second().assert_ok();
    let away = Away::take(token_folder(&site, "holdfast"), &site);
    site.wait_until("UNAVAILABLE", || {
        to_second().assert_ok();
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
        state(&site) == "UNAVAILABLE"
    });
    let probes = site.calls_of("C_GetSlotList");
    site.wait_until("many probes", || {
        to_second().assert_ok();
        site.calls_of("C_GetSlotList") > probes + 40
    });
    let made = site.calls();
    assert!(made["C_Finalize"] <= 1, "{made:?}");
    away.put_back();
    site.wait_until("service again", || is_served(&site));
    to_second().assert_ok();
}

fn fails_to_start(edit: impl FnOnce(String) -> String) -> String {
    let site = Site::prepare(&Setup::default());
    std::fs::write(site.path("empty.so"), "").unwrap();
    site.edit_configuration(edit);
    site.run();
    site.wait_until("the end", || site.exit_status().is_some());
    assert!(!site.exit_status().unwrap().success());
    site.log()
}

#[test]
fn what_is_not_a_pkcs11_module_stops_the_start_with_its_path_and_the_reason() {
    const SOFTHSM: &str = crate::support::site::SOFTHSM;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.split_whitespace().find(|word| word.ends_with("libc.so.6")).unwrap();
    for (module, reason) in [
        ("/nowhere/libnone.so", "`module` /nowhere/libnone.so: No such file"),
        ("empty.so", "empty.so: file too short"),
        (libc, "libc.so.6: Missing PKCS#11 symbol: C_GetFunctionList"),
    ] {
        let log = fails_to_start(|text| text.replace(SOFTHSM, module));
        assert!(log.contains(reason), "{log}");
    }
}

fn is_not_ready_because(edit: impl FnOnce(String) -> String) -> String {
    let site = Site::prepare(&Setup::default());
    site.edit_configuration(edit);
    site.run();
    site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
    assert_eq!(state(&site), "UNAVAILABLE");
    let (status, reason) = site.admin("/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(site.log().contains(reason.trim_end().split_once(": ").unwrap().1), "{}", site.log());
    reason
}

#[test]
fn a_token_or_health_key_that_is_not_there_is_named() {
    let reason = is_not_ready_because(|text| text.replace(r#"token_label = "holdfast""#, r#"token_label = "other""#));
    assert_eq!(reason, "HSM softhsm: no token is labelled `other`\n");
    let reason = is_not_ready_because(|text| text.replace("pin_file = \"pin\"", "pin_file = \"pin\"\nhealth_key = \"pulse\""));
    assert_eq!(reason, "HSM softhsm: the health key `pulse` is not in the token\n");
}

#[test]
fn a_health_key_of_another_kind_does_not_pass_for_one() {
    let site = Site::prepare(&Setup::default());
    site.edit_configuration(|text| text.replace("pin_file = \"pin\"", "pin_file = \"pin\"\nhealth_key = \"decrypt_only_key\""));
    site.run();
    site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
    let (status, reason) = site.admin("/readyz").unwrap();
    assert_eq!((status, reason.as_str()), (503, "HSM softhsm: C_EncryptInit returned KeyFunctionNotPermitted\n"));
}

/// The self-test of `iv_mode`: a token that does not make the IV it is declared to make must not encrypt.
#[test]
fn a_token_that_does_not_make_its_ivs_as_declared_is_never_used() {
    let reason = is_not_ready_because(|text| text.replace("pin_file = \"pin\"", "pin_file = \"pin\"\niv_mode = \"hsm\""));
    assert_eq!(reason, "HSM softhsm: the token did not write an IV; is `iv_mode` right for it?\n");
}

#[test]
fn two_tokens_of_one_label_are_told_apart_by_serial_or_refused() {
    let site = Site::prepare(&Setup::default());
    let first = token_folder(&site, "holdfast");
    site.init_token("holdfast");
    site.run();
    site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
    let (_, reason) = site.admin("/readyz").unwrap();
    assert_eq!(reason, "HSM softhsm: several tokens are labelled `holdfast`; set `token_serial`\n");
    site.stop();
    // SoftHSM takes the serial number from the end of the folder's name.
    let folder = first.file_name().unwrap().to_str().unwrap().replace('-', "");
    let serial = format!("token_serial = \"{}\"\n[hsm.environment]", &folder[folder.len() - 16..]);
    site.edit_configuration(|text| text.replace("[hsm.environment]", &serial));
    site.run();
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}
