//! Tokens that vanish and come back, under a running daemon and under one that starts.

use std::path::PathBuf;
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
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

/// Peer fault 3.
fn survives_the_loss_of(find_folder: impl Fn(&Site) -> PathBuf) {
    let site = Site::start_with(&Setup::default());
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    let pid = site.pid();
    let away = site.take_away(&find_folder(&site));
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
    survives_the_loss_of(|site| site.token_folder("holdfast"));
}

#[test]
fn a_library_that_loses_all_tokens_is_used_again_without_a_restart() {
    survives_the_loss_of(|site| site.path("tokens"));
}

/// Else keys would look deleted when the token is not well.
#[test]
fn a_search_that_does_not_find_the_health_key_is_not_believed() {
    let site = Site::start_with(&Setup::quiet(1));
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    site.inject("C_FindObjects forget");
    site.encrypt("unknown_key", PLAINTEXT, json!({})).assert_error(500, "InternalException");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    site.key_metadata("decrypt_only_key").assert_ok();
    site.inject("");
    site.wait_until("another search", || site.encrypt("unknown_key", PLAINTEXT, json!({})).status == 404);
}

#[test]
fn losing_the_token_is_logged_once_with_the_name_of_the_hsm() {
    let site = Site::start();
    let away = site.take_away(&site.token_folder("holdfast"));
    let events = |text: &str| {
        let log = site.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["message"].as_str().is_some_and(|message| message.starts_with(text)))
            .collect::<Vec<_>>()
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
    for folder in [site.token_folder("holdfast"), site.path("tokens")] {
        let away = site.take_away(&folder);
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
    let away = site.take_away(&site.token_folder("holdfast"));
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

/// With a library of its own: nobody else's sessions are in the way of initializing it again.
#[test]
fn a_token_that_is_back_is_used_again_within_two_seconds() {
    let site = Site::start_with(&Setup::default());
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    for _ in 0..3 {
        let away = site.take_away(&site.token_folder("holdfast"));
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(500, "InternalException");
        site.wait_until("UNAVAILABLE", || state(&site) == "UNAVAILABLE");
        let before = SystemClock.instant();
        away.put_back();
        site.wait_until("service again", || is_served(&site) && state(&site) != "UNAVAILABLE");
        let took = SystemClock.instant() - before;
        eprintln!("back in service after {} ms", took.as_millis());
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

/// With the library's state ended and made anew in the middle of other jobs.
#[test]
fn an_hsm_that_restarts_in_the_middle_of_traffic_spoils_no_answer() {
    let site =
        Site::start_with(&Setup { health: "probe_interval_seconds = 1".to_owned(), ..Setup::default() });
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    let decrypt = site.signed("keys/foo/decrypt", &site.decrypt_request(&encrypted, json!({})));
    let requests = [site.encrypt_request("foo"), decrypt, site.encrypt_request("encrypt_only_key")];
    for _ in 0..3 {
        let away = site.take_away(&site.token_folder("holdfast"));
        let mut failures = 0;
        while failures < 5 {
            for reply in site.at_once(&requests) {
                assert!([200, 500].contains(&reply.status), "{reply:?}");
                failures += u32::from(reply.status == 500);
            }
        }
        away.put_back();
        site.wait_until("service again", || {
            let replies = site.at_once(&requests);
            assert!(replies.iter().all(|reply| [200, 500].contains(&reply.status)), "{replies:?}");
            replies.iter().all(|reply| reply.status == 200)
        });
    }
}
