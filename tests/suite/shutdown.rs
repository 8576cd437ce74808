//! How the daemon ends and starts: nothing in flight is lost, and nothing is in the way of the next one.

use std::net::TcpStream;
use std::process::Output;
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use proxy_api::wire::{decode_base64, encode_base64};
use rustix::process::Signal;
use serde_json::json;

use crate::support::at_once::Pending;
use crate::support::site::free_ports;
use crate::support::traffic::Kept;
use crate::support::{Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Besides the time-out: stopping the tasks and unloading the library, on a busy machine.
const MARGIN: Duration = Duration::from_secs(3);

fn site() -> Site {
    let limits = "request_deadline_ms = 4000\nshutdown_timeout_seconds = 5".to_owned();
    Site::start_with(&Setup { limits, ..Setup::quiet(1) })
}

/// A request that the HSM is working on, slowly.
fn slow_request(site: &Site) -> Pending {
    let before = site.calls_of("C_Encrypt");
    site.inject("C_Encrypt delay_ms=1500 count=1");
    let pending = site.start_request(&site.encrypt_request("foo"));
    site.wait_until("a call", || site.calls_of("C_Encrypt") > before);
    pending
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}

fn serve(site: &Site) -> Output {
    site.holdfast(&["serve"])
}

#[track_caller]
fn assert_refusal(output: &Output, expected: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("holdfast: {expected}\n"));
}

#[track_caller]
fn ends_orderly_on(signal: Signal, name: &str) {
    let site = site();
    let in_flight = slow_request(&site);
    let started = SystemClock.instant();
    site.signal(signal);
    site.wait_until("no new connections", || is_refused(site.port) && is_refused(site.mtls_port));
    assert!(site.exit_status().is_none(), "it waits for the request");
    let reply = in_flight.wait(&site);
    let encrypted = reply.assert_ok().json();
    site.wait_until("the end", || site.exit_status().is_some());
    assert!(SystemClock.instant() - started < SHUTDOWN_TIMEOUT + MARGIN);
    assert_eq!(site.exit_status().unwrap().code(), Some(0), "{}", site.log());
    assert!(!site.path("state/control.sock").exists());
    let log = site.log();
    assert!(log.contains(&format!("\"signal\":\"{name}\"")), "{log}");
    assert!(log.lines().last().unwrap().contains("\"message\":\"stopped\",\"connections_cut\":0"), "{log}");

    // What it answered last is worth as much as any other answer.
    site.run();
    site.wait_ready();
    let decrypted = site.decrypt("foo", &encrypted, json!({}));
    assert_eq!(decrypted.assert_ok().text("plaintext"), encode_base64(PLAINTEXT));
}

#[test]
fn sigterm_answers_what_is_in_flight_and_takes_nothing_new() {
    ends_orderly_on(Signal::TERM, "SIGTERM");
}

#[test]
fn sigint_answers_what_is_in_flight_and_takes_nothing_new() {
    ends_orderly_on(Signal::INT, "SIGINT");
}

#[test]
fn a_kept_connection_is_closed_after_its_answer() {
    let site = site();
    let mut kept = Kept::open(&site.runtime, &site.caller()).unwrap();
    let signed = site.encrypt_request("foo").outgoing(&site.host());
    kept.send(signed).unwrap().assert_ok();
    let started = SystemClock.instant();
    assert_eq!(site.stop().code(), Some(0));
    assert!(SystemClock.instant() - started < MARGIN, "an idle connection is nothing to wait for");
    assert!(!kept.is_open());
}

#[test]
fn after_a_kill_it_starts_again_at_once() {
    let site = site();
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    site.kill();
    assert!(site.path("state/control.sock").exists());
    site.run();
    site.wait_ready();
    let decrypted = site.decrypt("foo", &encrypted, json!({}));
    assert_eq!(decode_base64(&decrypted.assert_ok().text("plaintext")).unwrap(), PLAINTEXT);
    let told = site.holdfast_ok(&["key", "block", "foo"]);
    assert!(told.contains("the running daemon has taken it up"), "{told}");
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let site = Site::start();
    let expected = format!("state_dir {}: another daemon runs on it", site.path("state").display());
    assert_refusal(&serve(&site), &expected);
    site.health().assert_ok();
    assert!(site.path("state/control.sock").exists());
}

#[test]
fn a_second_daemon_on_the_same_control_socket_is_refused() {
    let site = Site::start();
    let socket = site.path("state/control.sock");
    site.edit_configuration(|text| {
        let socket = format!("[admin]\ncontrol_socket = \"{}\"", socket.display());
        text.replace("state_dir = \"state\"", "state_dir = \"other\"").replace("[admin]", &socket)
    });
    let expected = format!("control socket {}: another daemon listens on it", socket.display());
    assert_refusal(&serve(&site), &expected);
    site.health().assert_ok();
    assert!(socket.exists());
}

#[test]
fn a_second_daemon_on_the_same_port_is_refused() {
    let site = Site::start();
    let [mtls_port, admin_port] = free_ports();
    site.edit_configuration(|text| {
        text.replace("state_dir = \"state\"", "state_dir = \"other\"")
            .replace(&site.mtls_port.to_string(), &mtls_port.to_string())
            .replace(&site.admin_port.to_string(), &admin_port.to_string())
    });
    let expected = format!(
        "listener `https` cannot listen on 127.0.0.1:{}: Address already in use (os error 98)",
        site.port
    );
    assert_refusal(&serve(&site), &expected);
    site.health().assert_ok();
    // Nothing was made but the folder and its lock.
    let made = std::fs::read_dir(site.path("other")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(made.collect::<Vec<_>>(), ["daemon.lock"]);
}

/// Connections on which no request is under way, in every state that they can be in.
#[test]
fn who_has_not_asked_anything_yet_is_not_waited_for() {
    let site = site();
    let open = || site.metric("holdfast_connections_open{listener=\"https\"}").unwrap_or_default();
    let silent = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    let handshaken = Kept::open(&site.runtime, &site.caller()).unwrap();
    site.wait_until("both connections", || open() >= 2.0);
    let started = SystemClock.instant();
    assert_eq!(site.stop().code(), Some(0));
    assert!(SystemClock.instant() - started < MARGIN, "{}", site.log());
    drop((silent, handshaken));
}
