//! A search of a token is linear in its keys: no request makes one for a key that is known, and few for others.

use holdfast::clock::{Clock, SystemClock};
use serde_json::json;

use crate::support::faults::calls;
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";
const KEYS: u64 = 1000;
/// The keys that every site has.
const OTHER_KEYS: u64 = 5;

/// Peer fault 14.
#[test]
fn with_a_thousand_keys_a_request_makes_the_same_two_calls() {
    let site = Site::prepare(&Setup::quiet(1));
    site.other_tool(&format!("make-many key-{KEYS} {KEYS}"));
    site.run();
    site.wait_ready();
    assert_eq!(site.metric(r#"holdfast_hsm_keys{hsm="softhsm"}"#), Some((KEYS + OTHER_KEYS) as f64));
    let start = site.calls();
    // One search, and the attributes of each key in two calls.
    assert_eq!(start["C_FindObjectsInit"], 1, "{start:?}");
    assert!(start["C_GetAttributeValue"] <= 2 * (KEYS + OTHER_KEYS) + 2, "{start:?}");

    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    let made = site.calls_during(|| {
        for number in (0..KEYS).step_by(50) {
            let key = format!("key-{KEYS}{number}");
            let encrypted = site.encrypt(&key, PLAINTEXT, json!({})).assert_ok().json();
            site.decrypt(&key, &encrypted, json!({})).assert_ok();
            site.key_metadata(&key).assert_ok();
        }
    });
    let twenty = [("C_Decrypt", 20), ("C_DecryptInit", 20), ("C_Encrypt", 20), ("C_EncryptInit", 20)];
    assert_eq!(made, calls(twenty));
}

/// After a new login all handles are dead: they are read in one search, not one by one.
#[test]
fn after_a_new_login_the_handles_are_found_in_one_search() {
    let site = Site::prepare(&Setup::quiet(1));
    site.other_tool("make-many key- 100");
    site.run();
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    let made = site.calls_during(|| {
        let before = site.calls_of("C_FindObjectsInit");
        site.inject("C_EncryptInit code=CKR_USER_NOT_LOGGED_IN count=1");
        site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
        // One for the request, one for all keys.
        site.wait_until("the keys read", || site.calls_of("C_FindObjectsInit") >= before + 2);
        for number in 0..100 {
            site.encrypt(&format!("key-{number}"), PLAINTEXT, json!({})).assert_ok();
        }
    });
    // The reading of the keys may still go on when the first request comes.
    assert!(made["C_FindObjectsInit"] <= 2 + 5, "{made:?}");
}

/// Peer fault 11: an absent key costs no session, no login and no search of its own.
#[test]
fn a_thousand_unknown_keys_do_not_keep_the_token_busy() {
    let site = Site::start_with(&Setup::quiet(1));
    let started = SystemClock.instant();
    let made = site.calls_during(|| {
        for number in 0..100 {
            let requests = [(); 10].map(|()| site.encrypt_request(&format!("unknown-{number}")));
            for reply in site.at_once(&requests) {
                reply.assert_error(404, "KeyNotFoundException");
            }
        }
    });
    let seconds = (SystemClock.instant() - started).as_secs();
    let searches = made.get("C_FindObjectsInit").copied().unwrap_or(0);
    assert!((1..=1 + seconds / 5).contains(&searches), "{searches} in {seconds} seconds");
    for function in ["C_CloseSession", "C_Login", "C_OpenSession"] {
        assert_eq!(made.get(function), None, "{made:?}");
    }
}

#[test]
fn requests_for_a_key_that_another_tool_has_just_made_wait_for_the_same_search() {
    let site = Site::start_with(&Setup::quiet(4));
    site.other_tool("make foreign");
    site.inject("C_FindObjectsInit delay_ms=100");
    let made = site.calls_during(|| {
        for reply in site.at_once(&[(); 8].map(|()| site.encrypt_request("foreign"))) {
            reply.assert_ok();
        }
    });
    assert_eq!(made["C_FindObjectsInit"], 1, "{made:?}");
}

/// A search that is not over at the deadline says nothing about the key.
#[test]
fn a_search_that_takes_too_long_is_no_missing_key() {
    let site = Site::start_with(&Setup { limits: "request_deadline_ms = 150".to_owned(), ..Setup::quiet(1) });
    site.other_tool("make foreign");
    site.inject("C_FindObjectsInit delay_ms=400");
    site.encrypt("foreign", PLAINTEXT, json!({})).assert_error(503, "DependencyTimeoutException");
    site.wait_until("the key", || site.encrypt("foreign", PLAINTEXT, json!({})).status == 200);
}
