//! PKCS#11 libraries in worker processes: whatever becomes of them, the daemon goes on.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::pki::write_private;
use crate::support::second_hsm::{Behind, to_second};
use crate::support::site::{Setup, Site};

fn isolated(sessions: usize) -> Setup {
    let quiet = Setup::quiet(sessions);
    Setup { hsm: format!("isolation = \"process\"\n{}", quiet.hsm), ..quiet }
}

fn worker(site: &Site, hsm: &str) -> Option<i32> {
    let pid = site.metric(&format!("holdfast_hsm_worker_process{{hsm=\"{hsm}\"}}"))?;
    // A process id is a small whole number.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    Some(pid as i32).filter(|pid| *pid != 0)
}

fn restarts(site: &Site, reason: &str) -> f64 {
    let series = format!("holdfast_hsm_worker_restarts_total{{hsm=\"softhsm\",reason=\"{reason}\"}}");
    site.metric(&series).unwrap_or(0.0)
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn exists(pid: i32) -> bool {
    // One that has ended and was not waited for has no memory.
    std::fs::read_to_string(format!("/proc/{pid}/statm")).is_ok_and(|statm| !statm.starts_with("0 "))
}

#[track_caller]
fn wait_for_another_worker(site: &Site, former: i32) -> i32 {
    site.wait_until("another worker process", || {
        worker(site, "softhsm").is_some_and(|pid| pid != former) && site.admin_status("/readyz") == Some(200)
    });
    worker(site, "softhsm").unwrap()
}

#[test]
fn a_crash_costs_what_was_on_its_way_and_the_next_request_is_served() {
    let site = Site::start_with(&isolated(2));
    let former = worker(&site, "softhsm").unwrap();
    site.inject("C_Encrypt crash");
    assert_eq!(site.encrypt("foo", b"text", json!({})).status, 500);
    site.inject("");
    wait_for_another_worker(&site, former);
    let encrypted = site.encrypt("foo", b"text", json!({}));
    assert_eq!(encrypted.status, 200);
    assert_eq!(site.decrypt("foo", &encrypted.json(), json!({})).status, 200);
    assert!(restarts(&site, "signal") >= 1.0);
    assert!(site.log().contains("has ended, and another takes its place"), "{}", site.log());
    assert!(site.exit_status().is_none());
}

#[test]
fn a_library_that_hangs_in_every_session_is_replaced() {
    let setup = isolated(2);
    let site = Site::start_with(&Setup { limits: "request_deadline_ms = 250".to_owned(), ..setup });
    let former = worker(&site, "softhsm").unwrap();
    site.inject("C_Decrypt hang\nC_Encrypt hang");
    site.wait_until("a process that hangs is ended", || {
        let status = site.encrypt("foo", b"text", json!({})).status;
        assert_ne!(status, 200);
        restarts(&site, "hang") >= 1.0
    });
    site.inject("");
    wait_for_another_worker(&site, former);
    site.wait_until("service", || site.encrypt("foo", b"text", json!({})).status == 200);
    assert!(!exists(former));
}

#[test]
fn a_worker_process_that_is_killed_is_replaced_and_no_key_is_forgotten() {
    let site = Site::start_with(&isolated(1));
    let series = r#"holdfast_key_gcm_invocations_total{external_key_id="foo",hsm="softhsm",version="1"}"#;
    let encrypted = site.encrypt("foo", b"text", json!({}));
    assert_eq!(site.metric(series), Some(1.0));
    for _ in 0..3 {
        let former = worker(&site, "softhsm").unwrap();
        kill(former);
        wait_for_another_worker(&site, former);
        assert_eq!(site.decrypt("foo", &encrypted.json(), json!({})).status, 200);
    }
    assert_eq!(site.metric(series), Some(1.0));
    assert!(restarts(&site, "signal") >= 3.0);
}

#[test]
fn requests_wait_for_the_process_that_takes_the_place_of_another() {
    let site = Site::start_with(&isolated(2));
    let former = worker(&site, "softhsm").unwrap();
    kill(former);
    site.wait_until("an answer", || site.encrypt("foo", b"text", json!({})).status == 200);
    assert_ne!(worker(&site, "softhsm"), Some(former));
}

#[test]
fn a_wrong_pin_is_tried_once_over_all_worker_processes() {
    let site = Site::prepare(&isolated(2));
    write_private(&site.path("pin"), "not-the-pin");
    site.run();
    let rejected = || site.metric("holdfast_hsm_pin_rejected{hsm=\"softhsm\"}") == Some(1.0);
    site.wait_until("the PIN is refused", rejected);
    assert_eq!(site.calls_of("C_Login"), 1);
    for _ in 0..3 {
        let former = worker(&site, "softhsm").unwrap();
        kill(former);
        site.wait_until("another worker process", || {
            worker(&site, "softhsm").is_some_and(|pid| pid != former) && rejected()
        });
        // Each process counts from zero.
        site.wait_until("probes", || site.calls_of("C_GetSlotList") > 5);
        assert_eq!(site.calls_of("C_Login"), 0);
    }
    write_private(&site.path("pin"), crate::support::site::PIN);
    site.wait_ready();
    assert_eq!(site.encrypt("foo", b"text", json!({})).status, 200);
}

#[test]
fn no_worker_process_outlives_the_daemon() {
    let site = Site::start_with(&isolated(1));
    let pid = worker(&site, "softhsm").unwrap();
    site.kill();
    site.wait_until("the end of the worker process", || !exists(pid));

    site.run();
    site.wait_ready();
    let pid = worker(&site, "softhsm").unwrap();
    assert!(site.stop().success());
    assert!(!exists(pid));
}

#[test]
fn a_worker_process_that_takes_too_much_memory_is_replaced_without_an_error() {
    let setup = isolated(2);
    let site = Site::start_with(&Setup { hsm: format!("{}\nworker_memory_max_mb = 16", setup.hsm), ..setup });
    let former = worker(&site, "softhsm").unwrap();
    site.wait_until("a process that is smaller", || {
        assert_eq!(site.encrypt("foo", b"text", json!({})).status, 200);
        restarts(&site, "memory") >= 1.0
    });
    site.wait_until("the end of the former", || !exists(former));
    assert_eq!(site.encrypt("foo", b"text", json!({})).status, 200);
    assert!(restarts(&site, "signal") == 0.0 && restarts(&site, "exit") == 0.0);
}

#[test]
fn two_tokens_of_one_library_do_not_share_its_fate() {
    let site = Site::start_with_second_hsm(isolated(1), Behind::SameModule);
    site.edit_configuration(|text| {
        text.replace("sessions = 1\nisolation = \"thread\"", "sessions = 1\nisolation = \"process\"")
    });
    site.stop();
    site.run();
    site.wait_ready();
    let (first, second) = (worker(&site, "softhsm").unwrap(), worker(&site, "second"));
    kill(first);
    let body = json!({"requestMetadata": crate::support::client::metadata("CreateKey")});
    let asked = to_second(site.signed("keys/foo/metadata", &body));
    assert_eq!(site.send_signed(&asked).status, 200);
    wait_for_another_worker(&site, first);
    assert_eq!(worker(&site, "second"), second);
}

#[test]
fn neither_library_nor_its_environment_is_in_the_daemon() {
    let site = Site::start_with(&isolated(1));
    let pid = worker(&site, "softhsm").unwrap();
    let file = |pid: &str, name: &str| std::fs::read(format!("/proc/{pid}/{name}"));
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let daemon = site.pid().to_string();
    // Only root can look into a process that gave up being looked into.
    let (Ok(of_daemon), Ok(of_worker)) = (file(&daemon, "maps"), file(&pid.to_string(), "maps")) else {
        return;
    };
    assert!(!has(&of_daemon, "softhsm") && has(&of_worker, "softhsm"));
    let (of_daemon, of_worker) =
        (file(&daemon, "environ").unwrap(), file(&pid.to_string(), "environ").unwrap());
    assert!(!has(&of_daemon, "SOFTHSM2_CONF") && has(&of_worker, "SOFTHSM2_CONF"));
    let arguments = file(&pid.to_string(), "cmdline").unwrap();
    assert_eq!(arguments, b"holdfast\0hsm-worker\0--\0softhsm\0");
}

#[test]
fn nobody_runs_a_worker_process_by_hand() {
    let site = Site::prepare(&Setup::default());
    let output = site.holdfast(&["hsm-worker", "softhsm"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("only the daemon starts this"), "{output:?}");
}

#[test]
fn a_library_that_cannot_be_loaded_is_an_error_at_the_start() {
    let site = Site::prepare(&Setup { hsm: "isolation = \"process\"".to_owned(), ..Setup::default() });
    std::fs::write(site.path("broken.so"), "no library").unwrap();
    site.edit_configuration(|text| text.replace(crate::support::site::SOFTHSM, "broken.so"));
    site.run();
    site.wait_until("the end of the daemon", || site.exit_status().is_some());
    assert!(site.log().contains("broken.so"), "{}", site.log());
}
