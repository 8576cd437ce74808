//! Session copies of token keys: as fast as they are, they must be no way around what is done to the key itself.

use serde_json::json;

use crate::support::faults::calls;
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";
/// A key that is used so often gets a copy.
const USES: usize = 8;

fn site(setup: Setup) -> Site {
    let hsm = format!("{}\nsession_copies = true", setup.hsm);
    let site = Site::start_with(&Setup { hsm, ..setup });
    use_key(&site, USES);
    site
}

fn use_key(site: &Site, times: usize) {
    for _ in 0..times {
        site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    }
}

#[test]
fn a_key_that_is_used_often_is_copied_once_and_used_by_two_calls() {
    let site = site(Setup::quiet(1));
    assert_eq!(site.calls_of("C_CopyObject"), 1);
    let made = site.calls_during(|| use_key(&site, 1));
    assert_eq!(made, calls([("C_Encrypt", 1), ("C_EncryptInit", 1)]));
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    site.decrypt("foo", &encrypted, json!({})).assert_ok();
    assert_eq!(site.calls_of("C_CopyObject"), 1);
}

#[test]
fn without_the_setting_nothing_is_copied() {
    let site = Site::start_with(&Setup::quiet(1));
    use_key(&site, 2 * USES);
    assert_eq!(site.calls_of("C_CopyObject"), 0);
}

#[test]
fn a_key_that_another_tool_destroys_is_soon_not_used_any_more() {
    let site = site(Setup::quiet(1));
    site.other_tool("destroy foo");
    site.wait_until("the copy to be refused", || site.encrypt("foo", PLAINTEXT, json!({})).status != 200);
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(404, "KeyNotFoundException");
}

#[test]
fn a_key_that_another_tool_forbids_to_encrypt_is_soon_not_used_any_more() {
    let site = site(Setup::quiet(1));
    site.other_tool("forbid-encryption foo");
    site.wait_until("the copy to be refused", || site.encrypt("foo", PLAINTEXT, json!({})).status != 200);
    for _ in 0..2 * USES {
        assert_ne!(site.encrypt("foo", PLAINTEXT, json!({})).status, 200);
    }
}

#[test]
fn a_copy_that_is_lost_costs_no_search() {
    let site = site(Setup::quiet(1));
    site.inject("C_EncryptInit code=CKR_KEY_HANDLE_INVALID count=1");
    let made = site.calls_during(|| use_key(&site, 1));
    assert_eq!(made, calls([("C_Encrypt", 1), ("C_EncryptInit", 2)]));
    use_key(&site, USES);
    assert_eq!(site.calls_of("C_CopyObject"), 2, "it is worth another copy");
}

#[test]
fn a_token_that_makes_no_copies_is_asked_once() {
    let setup = Setup::quiet(1);
    let hsm = format!("{}\nsession_copies = true", setup.hsm);
    let site = Site::start_with(&Setup { hsm, ..setup });
    site.inject("C_CopyObject code=CKR_ACTION_PROHIBITED");
    use_key(&site, 3 * USES);
    assert_eq!(site.calls_of("C_CopyObject"), 1);
}

#[test]
fn a_copy_is_destroyed_when_its_key_is_not_known_any_more() {
    let site = site(Setup::quiet(1));
    let made = site.calls_during(|| {
        site.other_tool("destroy foo");
        // The keys are read again.
        site.key_metadata("unknown").assert_error(404, "KeyNotFoundException");
    });
    assert_eq!(made.get("C_DestroyObject"), Some(&1), "{made:?}");
}

#[test]
fn after_another_login_a_key_is_copied_anew() {
    let site = site(Setup::quiet(1));
    site.inject("C_EncryptInit code=CKR_USER_NOT_LOGGED_IN count=1");
    use_key(&site, 3 * USES);
    assert_eq!(site.calls_of("C_CopyObject"), 2);
}
