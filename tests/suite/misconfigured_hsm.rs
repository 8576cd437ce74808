//! Modules, tokens and keys that are not what the configuration says: the start, or the readiness, says what is wrong.

use serde_json::json;

use crate::support::site::SOFTHSM;
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";

fn fails_to_start_with_module(module: &str) -> String {
    let site = Site::prepare(&Setup::default());
    std::fs::write(site.path("empty.so"), "").unwrap();
    site.edit_configuration(|text| text.replace(SOFTHSM, module));
    site.run();
    site.wait_until("the end", || site.exit_status().is_some());
    assert!(!site.exit_status().unwrap().success());
    site.log()
}

#[test]
fn what_is_not_a_pkcs11_module_stops_the_start_with_its_path_and_the_reason() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.split_whitespace().find(|word| word.ends_with("libc.so.6")).unwrap();
    for (module, reason) in [
        ("/nowhere/libnone.so", "`module` /nowhere/libnone.so: No such file"),
        ("empty.so", "empty.so: file too short"),
        (libc, "libc.so.6: Missing PKCS#11 symbol: C_GetFunctionList"),
    ] {
        let log = fails_to_start_with_module(module);
        assert!(log.contains(reason), "{log}");
    }
}

/// Starts the daemon and returns why it is not ready, which its log says too.
#[track_caller]
fn run_unready(site: &Site) -> String {
    site.run();
    site.wait_until("a listener", || site.admin_status("/livez") == Some(200));
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
    site.key_metadata("foo").assert_error(500, "InternalException");
    let health = site.health().assert_ok().json();
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "UNAVAILABLE");
    let (status, obstacle) = site.admin("/readyz").unwrap();
    assert_eq!(status, 503);
    let reason = obstacle.strip_prefix("HSM softhsm: ").unwrap().trim_end().to_owned();
    assert!(site.log().contains(&format!("HSM fault: {reason}")), "{}", site.log());
    reason
}

fn unready_with(hsm: &str) -> (Site, String) {
    let site = Site::prepare(&Setup { hsm: hsm.to_owned(), ..Setup::default() });
    let reason = run_unready(&site);
    (site, reason)
}

#[test]
fn a_token_that_is_not_there_is_named() {
    let site = Site::prepare(&Setup::default());
    site.edit_configuration(|text| text.replace(r#"token_label = "holdfast""#, r#"token_label = "other""#));
    assert_eq!(run_unready(&site), "no token is labelled `other`");
}

#[test]
fn a_health_key_that_is_not_there_is_named_and_taken_up_when_it_is_made() {
    let (site, reason) = unready_with(r#"health_key = "pulse""#);
    assert_eq!(reason, "the health key `pulse` is not in the token");
    site.holdfast_ok(&["key", "create", "pulse"]);
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}

#[test]
fn a_health_key_that_cannot_encrypt_does_not_pass_for_one() {
    let (_, reason) = unready_with(r#"health_key = "decrypt_only_key""#);
    assert_eq!(reason, "C_EncryptInit returned KeyFunctionNotPermitted");
}

/// The self-test: a token that does not make the IVs it is declared to make is never used.
#[test]
fn an_iv_mode_that_is_wrong_for_the_token_is_noticed_before_the_first_request() {
    let (_, reason) = unready_with(r#"iv_mode = "hsm""#);
    assert_eq!(reason, "the token did not write an IV; is `iv_mode` right for it?");
}

#[test]
fn two_tokens_of_one_label_are_told_apart_by_their_serial_number_or_refused() {
    let site = Site::prepare(&Setup::default());
    let first = site.token_folder("holdfast");
    site.init_token("holdfast");
    assert_eq!(run_unready(&site), "several tokens are labelled `holdfast`; set `token_serial`");
    site.stop();
    // SoftHSM takes the serial number from the end of the folder's name.
    let folder = first.file_name().unwrap().to_str().unwrap().replace('-', "");
    let serial = format!("token_serial = \"{}\"\n[hsm.environment]", &folder[folder.len() - 16..]);
    site.edit_configuration(|text| text.replace("[hsm.environment]", &serial));
    site.run();
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}

/// Libraries of network HSMs connect when they are initialized.
#[test]
fn a_library_that_cannot_be_initialized_is_initialized_later() {
    let site = Site::prepare(&Setup { shim: true, ..Setup::default() });
    site.inject("C_Initialize code=CKR_DEVICE_ERROR");
    assert_eq!(run_unready(&site), "C_Initialize returned DeviceError");
    site.inject("");
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}
