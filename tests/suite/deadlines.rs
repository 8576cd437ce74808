//! An HSM that is slow or hangs: answers in time for whom it hangs, and no trouble for anybody else.

use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use rustix::process::Signal;
use serde_json::json;

use crate::support::at_once::{Pending, duration_of, median};
use crate::support::second_hsm::{Behind, to_second};
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";
/// After this AWS KMS has given up.
const KMS_TIMEOUT: Duration = Duration::from_millis(250);
/// What an answer that waits for nothing takes at most, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A deadline that leaves a busy machine time to keep it.
fn setup(sessions: usize) -> Setup {
    Setup { limits: "request_deadline_ms = 150".to_owned(), ..Setup::quiet(sessions) }
}

fn stuck_sessions(site: &Site) -> Option<f64> {
    site.metric(r#"holdfast_hsm_sessions_stuck{hsm="softhsm"}"#)
}

fn health(site: &Site) -> String {
    site.health().assert_ok().json()["ekmFleetDetails"][0]["healthStatus"].as_str().unwrap().to_owned()
}

/// Makes every session of the first HSM hang.
fn hang_all(site: &Site, sessions: usize) {
    site.inject("C_Encrypt hang");
    let hanging: Vec<Pending> =
        (0..sessions).map(|_| site.start_request(&site.encrypt_request("foo"))).collect();
    for pending in hanging {
        pending.wait(site).assert_error(503, "DependencyTimeoutException");
    }
    site.wait_until("all sessions stuck", || stuck_sessions(site) == Some(sessions as f64));
}

#[test]
fn a_hung_call_is_answered_in_time_and_hangs_nobody_else() {
    let site = Site::start_with(&setup(2));
    site.inject("C_Encrypt hang count=1");
    let hung = site.start_request(&site.encrypt_request("foo"));
    site.wait_until("a hung call", || site.calls_of("C_Encrypt") > 0 && stuck_sessions(&site) == Some(1.0));
    hung.wait(&site).assert_error(503, "DependencyTimeoutException");
    let line = &site.lines_with_outcome("DependencyTimeoutException", 1)[0];
    assert!((Duration::from_millis(150)..KMS_TIMEOUT).contains(&duration_of(line)), "{line}");
    assert_eq!(line["reason"], "the HSM did not answer in time");
    // The other session goes on.
    for _ in 0..20 {
        site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    }
    assert_eq!(health(&site), "DEGRADED");
    assert_eq!(site.admin_status("/readyz"), Some(200));
    site.inject("");
    site.wait_until("no session stuck", || stuck_sessions(&site) == Some(0.0));
    assert_eq!(health(&site), "ACTIVE");
}

/// Peer fault 4.
#[test]
fn while_all_sessions_hang_everything_else_answers_at_once() {
    let site = Site::start_with(&setup(2));
    hang_all(&site, 2);
    for _ in 0..11 {
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(503, "DependencyTimeoutException");
        site.encrypt("unknown_key", PLAINTEXT, json!({})).assert_error(500, "InternalException");
        site.key_metadata("foo").assert_ok();
        assert_eq!(health(&site), "UNAVAILABLE");
    }
    // After those of the requests that hung.
    site.wait_until("all log lines", || site.request_lines().len() >= 2 + 4 * 11);
    let lines = site.request_lines().split_off(2);
    for what in ["DependencyTimeoutException", "InternalException", "Success"] {
        let lines: Vec<_> = lines.iter().filter(|line| line["outcome"] == what).collect();
        assert!(median(lines.iter().map(|line| duration_of(line)).collect()) < AT_ONCE, "{lines:?}");
        assert!(lines.iter().all(|line| duration_of(line) < KMS_TIMEOUT), "{lines:?}");
    }

    assert_eq!(site.admin_status("/livez"), Some(200));
    assert_eq!(
        site.admin("/readyz"),
        Some((503, "HSM softhsm: all sessions hang in PKCS#11 calls\n".to_owned()))
    );
    assert_eq!(site.metric(r#"holdfast_hsm_state{hsm="softhsm",state="UNAVAILABLE"}"#), Some(1.0));
    site.holdfast_ok(&["key", "block", "foo"]);
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(400, "InvalidStateException");
    site.holdfast_ok(&["key", "unblock", "foo"]);

    let pid = site.pid();
    site.inject("");
    site.wait_until("service again", || site.encrypt("foo", PLAINTEXT, json!({})).status == 200);
    site.wait_until("health", || health(&site) == "ACTIVE");
    assert_eq!(site.pid(), pid);
}

#[test]
fn a_key_store_on_another_library_does_not_notice() {
    let site = Site::start_with_second_hsm(setup(1), Behind::OtherModule);
    hang_all(&site, 1);
    for _ in 0..20 {
        site.send_signed(&to_second(site.encrypt_request("foo"))).assert_ok();
    }
    let health = to_second(site.signed(
        "health",
        &json!({"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "r"}}),
    ));
    assert_eq!(site.send_signed(&health).json()["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
    site.inject("");
}

#[test]
fn a_key_store_on_another_token_of_the_same_library_does_not_notice() {
    let site = Site::start_with_second_hsm(setup(1), Behind::SameModule);
    site.inject("C_Encrypt hang count=1");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(503, "DependencyTimeoutException");
    site.wait_until("a stuck session", || stuck_sessions(&site) == Some(1.0));
    for _ in 0..20 {
        site.send_signed(&to_second(site.encrypt_request("foo"))).assert_ok();
    }
    site.inject("");
    site.wait_until("service again", || site.encrypt("foo", PLAINTEXT, json!({})).status == 200);
}

#[test]
fn a_slow_call_is_answered_in_time_and_its_session_goes_on() {
    let site = Site::start_with(&setup(1));
    site.inject("C_Encrypt delay_ms=400 count=1");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(503, "DependencyTimeoutException");
    site.wait_until("service again", || site.encrypt("foo", PLAINTEXT, json!({})).status == 200);
    // Nobody took the session for broken.
    assert_eq!(site.metric(r#"holdfast_hsm_sessions{hsm="softhsm"}"#), Some(1.0));
    assert_eq!(site.metric(r#"holdfast_hsm_faults_total{code="none",hsm="softhsm"}"#), None);
}

#[test]
fn a_job_whose_deadline_has_passed_in_the_queue_is_never_done() {
    let site = Site::start_with(&setup(1));
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    site.inject("C_Encrypt delay_ms=200");
    let made = site.calls_during(|| {
        let replies = site.at_once(&[(); 4].map(|()| site.encrypt_request("foo")));
        for reply in replies {
            reply.assert_error(503, "DependencyTimeoutException");
        }
        site.inject("");
        site.wait_until("service again", || site.encrypt("foo", PLAINTEXT, json!({})).status == 200);
    });
    assert_eq!(made["C_Encrypt"], 2, "{made:?}");
}

#[test]
fn a_full_queue_refuses_at_once() {
    let site =
        Site::start_with(&Setup { hsm: "sessions = 1\nqueue_length_max = 1".to_owned(), ..Setup::quiet(1) });
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    site.inject("C_Encrypt delay_ms=200");
    let replies = site.at_once(&[(); 8].map(|()| site.encrypt_request("foo")));
    let (served, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert!(served.len() >= 2 && !refused.is_empty(), "{served:?} {refused:?}");
    for reply in &refused {
        reply.assert_error(429, "ThrottlingException");
    }
    let lines = site.lines_with_outcome("ThrottlingException", refused.len());
    assert!(median(lines.iter().map(duration_of).collect()) < AT_ONCE, "{lines:?}");
    assert_eq!(lines[0]["reason"], "all HSM sessions are busy");
}

#[test]
fn sigterm_ends_a_daemon_whose_library_hangs() {
    let limits = "request_deadline_ms = 1000\nshutdown_timeout_seconds = 2".to_owned();
    let site = Site::start_with(&Setup { limits, ..Setup::quiet(1) });
    let before = site.calls_of("C_Encrypt");
    site.inject("C_Encrypt hang");
    let in_flight = site.start_request(&site.encrypt_request("foo"));
    site.wait_until("a hung call", || site.calls_of("C_Encrypt") > before);
    let started = SystemClock.instant();
    site.signal(Signal::TERM);
    in_flight.wait(&site).assert_error(503, "DependencyTimeoutException");
    site.wait_until("the end", || site.exit_status().is_some());
    assert!(site.exit_status().unwrap().success(), "{}", site.log());
    assert!(SystemClock.instant() - started < Duration::from_secs(5));
}

#[test]
fn a_library_that_hangs_from_the_start_does_not_keep_the_daemon_from_answering() {
    let site = Site::prepare(&Setup { health: "probe_timeout_ms = 200".to_owned(), ..setup(1) });
    site.inject("C_Login hang");
    site.run();
    site.wait_until("the health", || site.admin_status("/livez") == Some(200));
    let (status, reason) = site.admin("/readyz").unwrap();
    assert_eq!((status, reason.as_str()), (503, "HSM softhsm: no answer to a probe within 200 ms\n"));
    assert_eq!(health(&site), "UNAVAILABLE");
    for _ in 0..3 {
        let reply = site.encrypt("foo", PLAINTEXT, json!({}));
        assert!([500, 503].contains(&reply.status), "{reply:?}");
    }
    site.inject("");
    site.wait_ready();
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}
