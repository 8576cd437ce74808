//! Blocks of keys and key stores: in force when the command returns, on everything, until they are taken back.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::changes::Reload;
use crate::support::requests::PATHS;
use crate::support::site::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use crate::support::traffic::Kept;
use crate::support::{Setup, Site};

const STORE_BLOCKED: &str = r#"holdfast_key_store_blocked{key_store="test"}"#;

/// The status of each request to the store, over a connection that was open before.
#[track_caller]
fn assert_blocked(kept: &mut Kept<'_>, requests: &[(&str, Value)]) {
    for (path, body) in requests {
        kept.post(path, body).unwrap().assert_error(400, "InvalidStateException");
    }
}

#[track_caller]
fn assert_served(kept: &mut Kept<'_>, requests: &[(&str, Value)]) {
    for (path, body) in requests {
        kept.post(path, body).unwrap().assert_ok();
    }
}

/// The command with a disk that takes nothing more.
fn on_a_full_disk(site: &Site, arguments: &[&str]) -> Output {
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_holdfast")])
        .args(arguments)
        .env("HOLDFAST_CONFIG", site.path("holdfast.toml"))
        .current_dir(site.folder.path())
        .output()
        .unwrap()
}

fn state_files(site: &Site) -> Vec<String> {
    let entries = std::fs::read_dir(site.path("state")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_blocked_key_does_nothing_from_when_the_command_returns() {
    let site = Site::start();
    let requests = site.right_requests();
    let mut kept = Kept::open(&site.runtime, &site.caller()).unwrap();
    for _ in 0..5 {
        let said = site.holdfast_ok(&["key", "block", "foo"]);
        assert_eq!(said, "key foo is blocked\nthe running daemon has taken it up\n");
        assert_blocked(&mut kept, &requests[1..]);
        site.holdfast_ok(&["key", "unblock", "foo"]);
        assert_served(&mut kept, &requests);
    }
    site.holdfast_ok(&["key", "block", "foo"]);
    // Other keys and the health of the store are as before.
    assert_served(&mut kept, &requests[..1]);
    site.encrypt("encrypt_only_key", b"Hello", json!({})).assert_ok();
}

#[test]
fn a_blocked_key_store_answers_nothing_and_others_go_on() {
    let site = Site::prepare(&Setup::default());
    site.add_key_store("other", "");
    site.run();
    site.wait_ready();
    let requests = site.right_requests();
    let mut kept = Kept::open(&site.runtime, &site.caller()).unwrap();
    assert_eq!(site.metric(STORE_BLOCKED), Some(0.0));
    let said = site.holdfast_ok(&["store", "block", "test"]);
    assert_eq!(said, "key store test is blocked\nthe running daemon has taken it up\n");
    assert_eq!(requests.len(), PATHS.len());
    assert_blocked(&mut kept, &requests);
    assert_eq!(site.metric(STORE_BLOCKED), Some(1.0));
    let other = site.caller_of("other", ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    assert_served(&mut Kept::open(&site.runtime, &other).unwrap(), &requests);
    // Who cannot sign does not learn that the store is blocked.
    let mut stranger = site.signed("health", &requests[0].1);
    stranger.secret_access_key = "wrong".to_owned();
    site.send_signed(&stranger).assert_error(401, "AuthenticationFailedException");

    site.holdfast_ok(&["store", "unblock", "test"]);
    assert_served(&mut kept, &requests);
    assert_eq!(site.metric(STORE_BLOCKED), Some(0.0));
}

#[test]
fn blocks_outlive_a_daemon_that_is_killed() {
    let site = Site::start();
    let requests = site.right_requests();
    site.holdfast_ok(&["key", "block", "encrypt_only_key"]);
    site.holdfast_ok(&["store", "block", "test"]);
    site.kill();
    site.run();
    site.wait_ready();
    assert_blocked(&mut Kept::open(&site.runtime, &site.caller()).unwrap(), &requests);
    site.holdfast_ok(&["store", "unblock", "test"]);
    site.encrypt("encrypt_only_key", b"Hello", json!({})).assert_error(400, "InvalidStateException");
    site.encrypt("foo", b"Hello", json!({})).assert_ok();
}

#[test]
fn a_block_made_while_no_daemon_runs_is_in_force_when_one_starts() {
    let site = Site::prepare(&Setup::default());
    for (arguments, what) in
        [(["key", "block", "foo"], "key foo"), (["store", "block", "test"], "key store test")]
    {
        let expected = format!("{what} is blocked\nno daemon is running; it is in force when one starts\n");
        assert_eq!(site.holdfast_ok(&arguments), expected);
    }
    assert!(site.holdfast_ok(&["store", "list"]).contains(" blocked "));
    site.run();
    site.wait_ready();
    site.health().assert_error(400, "InvalidStateException");
    site.holdfast_ok(&["store", "unblock", "test"]);
    site.health().assert_ok();
    site.key_metadata("foo").assert_error(400, "InvalidStateException");
}

#[test]
fn a_block_that_cannot_be_written_down_is_an_error_and_changes_nothing() {
    let site = Site::start();
    site.holdfast_ok(&["key", "block", "encrypt_only_key"]);
    let (before, files) = (site.read("state/blocked.json"), state_files(&site));
    for arguments in
        [["key", "block", "foo"], ["store", "block", "test"], ["key", "unblock", "encrypt_only_key"]]
    {
        let output = on_a_full_disk(&site, &arguments);
        let reason = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {reason}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(reason.starts_with("holdfast: ") && reason.contains("state/blocked.json: "), "{reason}");
        assert_eq!((site.read("state/blocked.json"), state_files(&site)), (before.clone(), files.clone()));
    }
    site.encrypt("foo", b"Hello", json!({})).assert_ok();
    site.encrypt("encrypt_only_key", b"Hello", json!({})).assert_error(400, "InvalidStateException");
}

#[test]
fn a_state_directory_that_is_none_is_named() {
    let site = Site::prepare(&Setup::default());
    let _ = std::fs::remove_dir_all(site.path("state"));
    std::fs::write(site.path("state"), "").unwrap();
    let output = site.holdfast(&["key", "block", "foo"]);
    assert_eq!(output.status.code(), Some(1));
    let reason = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.stdout.is_empty() && reason.contains(&site.path("state").display().to_string()),
        "{reason}"
    );
}

#[test]
fn a_blocked_key_is_blocked_in_every_store_and_listed_as_such() {
    let site = Site::prepare(&Setup::default());
    site.add_key_store("other", "");
    site.run();
    site.wait_ready();
    let requests = site.right_requests();
    site.holdfast_ok(&["key", "block", "foo"]);
    let other = site.caller_of("other", ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    let mut kept = Kept::open(&site.runtime, &other).unwrap();
    assert_served(&mut kept, &requests[..1]);
    assert_blocked(&mut kept, &requests[1..]);
    assert!(site.holdfast_ok(&["key", "describe", "foo"]).contains("state    blocked\n"));
    let listed = site.holdfast_ok(&["key", "list"]);
    let line = listed.lines().find(|line| line.starts_with("foo ")).unwrap();
    assert!(line.contains(" blocked "), "{listed}");
    // Blocked stays blocked, although the HSM would let it be used.
    site.holdfast_ok(&["key", "disable", "foo"]);
    site.holdfast_ok(&["key", "enable", "foo"]);
    site.holdfast_ok(&["key", "rotate", "foo"]);
    assert_blocked(&mut kept, &requests[1..]);
}

#[test]
fn a_block_works_although_nobody_can_read_that_it_does() {
    let site = Site::start();
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["key", "block", "foo"])
        .env("HOLDFAST_CONFIG", site.path("holdfast.toml"))
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    site.key_metadata("foo").assert_error(400, "InvalidStateException");
}

#[test]
fn a_damaged_state_file_leaves_the_blocks_in_force_and_stops_the_next_start() {
    let site = Site::start();
    site.holdfast_ok(&["key", "block", "foo"]);
    std::fs::write(site.path("state/blocked.json"), "{").unwrap();
    let output = site.holdfast(&["key", "unblock", "foo"]);
    let reason = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && reason.contains("state/blocked.json: "), "{reason}");
    site.reload(Reload::Refused, || site.hang_up());
    site.key_metadata("foo").assert_error(400, "InvalidStateException");
    site.kill();
    site.run();
    site.wait_until("the end", || site.exit_status().is_some());
    assert_eq!(site.exit_status().unwrap().code(), Some(1));
    assert!(site.log().lines().last().unwrap().contains("state/blocked.json: "), "{}", site.log());
}

#[test]
fn a_broken_configuration_file_takes_the_kill_switch_from_nobody() {
    let site = Site::start();
    let (requests, socket) = (site.right_requests(), site.path("state/control.sock"));
    let right = site.read("holdfast.toml");
    let wrong = right.replace("token_label = ", "isolation = \"proc\"\ntoken_label = ");
    for broken in ["[[listener", &wrong] {
        site.reload(Reload::Refused, || std::fs::write(site.path("holdfast.toml"), broken).unwrap());
        let output = site.holdfast(&["key", "block", "foo"]);
        let reason = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{reason}");
        assert!(reason.lines().count() == 2 && reason.contains("`--control-socket "), "{reason}");
        let socket = socket.to_str().unwrap();
        let on_socket =
            |command: [&str; 3]| site.holdfast_ok(&[&command[..], &["--control-socket", socket]].concat());
        let mut kept = Kept::open(&site.runtime, &site.caller()).unwrap();
        let said = on_socket(["key", "block", "foo"]);
        assert_eq!(said, "key foo is blocked\nthe running daemon has taken it up\n");
        assert_blocked(&mut kept, &requests[1..]);
        on_socket(["key", "unblock", "foo"]);
        on_socket(["store", "block", "test"]);
        assert!(site.read("state/blocked.json").contains("\"test\""), "durable");
        assert_blocked(&mut kept, &requests);
        on_socket(["store", "unblock", "test"]);
        assert_served(&mut kept, &requests);
    }
}

#[test]
fn a_socket_that_no_daemon_listens_on_blocks_nothing() {
    let site = Site::prepare(&Setup::default());
    let output = site.holdfast(&["key", "block", "foo", "--control-socket", "none.sock"]);
    let reason = String::from_utf8(output.stderr).unwrap();
    assert_eq!(reason, "holdfast: nothing is changed: none.sock: no daemon listens\n");
    assert!(output.status.code() == Some(1) && !site.path("state/blocked.json").exists());
}

#[test]
fn what_is_mistyped_is_blocked_and_doubted() {
    let site = Site::prepare(&Setup::default());
    let doubt = "no key store has a key with this id now; `holdfast key list` shows the ids";
    let text = site.read("holdfast.toml").replace("[[key_store]]", "[[key_store]]\nkeys = [\"f*\"]");
    std::fs::write(site.path("holdfast.toml"), text).unwrap();
    let blocked = |id: &str| site.holdfast_ok(&["key", "block", id]);
    assert!(blocked("bar").ends_with(&format!("when one starts\n{doubt}\n")), "no store admits it");
    assert!(blocked("fob").ends_with("when one starts\n"), "nobody knows without a daemon");
    site.run();
    site.wait_ready();
    assert_eq!(blocked("fo"), format!("key fo is blocked\nthe running daemon has taken it up\n{doubt}\n"));
    assert_eq!(blocked("foo"), "key foo is blocked\nthe running daemon has taken it up\n");
    let unblocked = |id: &str| site.holdfast_ok(&["key", "unblock", id]).lines().next().unwrap().to_owned();
    assert_eq!(unblocked("fo"), "key fo is not blocked any more");
    assert_eq!(unblocked("nonsuch"), "key nonsuch was not blocked");
    let output = site.holdfast(&["store", "block", "tset", "--control-socket", "state/control.sock"]);
    let reason = String::from_utf8(output.stderr).unwrap();
    assert_eq!(reason, "holdfast: no key store is named `tset`; `holdfast store list` shows them\n");
}

/// Whoever blocks must know when the daemon has not heard of it.
#[test]
fn a_daemon_that_does_not_answer_makes_the_command_fail() {
    let site = Site::prepare(&Setup::default());
    std::fs::create_dir_all(site.path("state")).unwrap();
    let socket = UnixListener::bind(site.path("state/control.sock")).unwrap();
    let deaf = std::thread::spawn(move || drop(socket.accept().unwrap()));
    let output = site.holdfast(&["key", "block", "foo"]);
    deaf.join().unwrap();
    let reason = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(reason.starts_with("holdfast: it is done, but the running daemon cannot be told ("), "{reason}");
    assert!(site.read("state/blocked.json").contains("\"foo\""));
}

#[test]
fn a_daemon_that_hangs_keeps_nobody_waiting_who_blocks() {
    let site = Site::start();
    site.signal(rustix::process::Signal::STOP);
    let output = site.holdfast(&["key", "block", "foo"]);
    site.signal(rustix::process::Signal::CONT);
    let reason = String::from_utf8(output.stderr).unwrap();
    assert!(reason.contains("it has not answered for 5 s") && !output.status.success(), "{reason}");
    assert!(site.read("state/blocked.json").contains("\"foo\""));
}
