//! `deploy/quickstart.sh`: from nothing to a signed request, from any folder, with a build that is made already.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use holdfast::config::environment;
use serde_json::Value;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Stands for the build, which is too long for a test: puts the program of this test run where cargo would.
const CARGO: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    [ "$1" != --target-dir ] || target=$2
    shift
done
mkdir -p "$target/release" && ln -sf "$HOLDFAST" "$target/release/holdfast"
"#;

struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let bin = machine.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("cargo"), CARGO).unwrap();
        fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The script, called from this machine's folder.
    fn quickstart(&self, arguments: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/quickstart.sh");
        let mut path = self.path().join("bin").into_os_string();
        path.push(":");
        path.push(environment::variable("PATH").unwrap());
        let mut command = Command::new(script);
        command.args(arguments).current_dir(self.path()).env_remove("SOFTHSM2_CONF");
        command.env("PATH", path).env("HOLDFAST", env!("CARGO_BIN_EXE_holdfast"));
        command.env("CARGO_TARGET_DIR", self.path().join("target"));
        command
    }
}

/// The script at work; killed when dropped.
struct Running {
    child: Child,
    output: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, output) = mpsc::channel();
        // Ends with the script, whose output it also keeps from filling the pipe.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _nobody_waits = sender.send(line);
            }
        });
        Self { child, output }
    }

    /// Waits for a line of this kind.
    fn line(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.output.recv_timeout(START_TIMEOUT).expect("the script ended or hangs");
            if is_wanted(&line) {
                return line;
            }
        }
    }

    fn stop(mut self, signal: rustix::process::Signal) -> ExitStatus {
        let process_id = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(process_id).unwrap(), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The first of five free ports in a row.
fn free_port_base() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = first.local_addr().unwrap().port();
        let is_free = |offset| {
            base.checked_add(offset).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        if (1..5).all(is_free) {
            return base;
        }
    }
}

/// Pastes a line into a fresh shell in another folder.
fn paste(line: &str) -> Value {
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn the_printed_line_encrypts_and_a_second_run_still_knows_the_key() {
    let machine = Machine::new();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let base = free_port_base().to_string();
        let mut running = Running::start(machine.quickstart(&["--dir", "my dir", "--port-base", &base]));
        let line = running.line(|line| line.contains("--aws-sigv4"));
        let encrypted = paste(&line);
        assert!(
            encrypted["ciphertext"].is_string() && encrypted["authenticationTag"].is_string(),
            "{encrypted}"
        );
        assert!(running.stop(signal).success());
    }
    assert_eq!(fs::metadata(machine.path().join("my dir")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn two_quick_starts_run_side_by_side() {
    let machine = Machine::new();
    let [mut one, mut two] = ["one", "two"].map(|dir| {
        let base = free_port_base().to_string();
        Running::start(machine.quickstart(&["--dir", dir, "--port-base", &base]))
    });
    for running in [&mut one, &mut two] {
        let line = running.line(|line| line.contains("--aws-sigv4"));
        assert!(paste(&line)["ciphertext"].is_string());
    }
}

#[test]
fn provision_only_makes_the_default_folder_and_ends() {
    let machine = Machine::new();
    let status = machine.quickstart(&["--provision-only", "--account-id", "111122223333"]).status().unwrap();
    assert!(status.success());
    let variables = fs::read_to_string(machine.path().join(".holdfast/env")).unwrap();
    assert!(variables.contains("HOLDFAST_ACCOUNT_ID=111122223333\n"));
}

#[test]
fn a_port_in_use_is_named_before_anything_is_made() {
    let machine = Machine::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let base = port - 4;
    let output = machine.quickstart(&["--port-base", &base.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    // Another program may have one of the others.
    assert!(error.starts_with("quickstart: port ") && error.contains(" is in use; "), "{error}");
    assert!(!machine.path().join(".holdfast").exists());
}

#[test]
fn bad_options_are_usage_errors() {
    let machine = Machine::new();
    for arguments in [
        &["--unknown"][..],
        &["--dir"],
        &["--port-base", "65532"],
        &["--port-base", "1x"],
        &["--account-id", "1"],
    ] {
        let output = machine.quickstart(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("Usage: deploy/quickstart.sh "));
    }
    assert!(machine.quickstart(&["--help"]).status().unwrap().success());
}

#[test]
fn what_is_missing_is_named_with_the_command_that_installs_it() {
    let machine = Machine::new();
    // A machine with nothing but a shell and what the script itself needs.
    let bare = machine.path().join("bare");
    fs::create_dir(&bare).unwrap();
    for tool in ["bash", "cat", "dirname"] {
        symlink(format!("/usr/bin/{tool}"), bare.join(tool)).unwrap();
    }
    let mut command = machine.quickstart(&[]);
    command.env("PATH", &bare).env("CARGO_HOME", "/nonexistent").env_remove("HOME");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "quickstart: Rust is missing; https://rustup.rs installs it\n");

    symlink(machine.path().join("bin/cargo"), bare.join("cargo")).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (told, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(told.contains("  gcc libc6-dev: a C compiler, "), "{told}");
    assert!(told.contains("  curl: sends the first request\n"), "{told}");
    assert!(error.starts_with("There is no apt-get here: "), "{error}");

    // With apt-get, but without root.
    symlink("/usr/bin/true", bare.join("apt-get")).unwrap();
    if !rustix::process::geteuid().is_root() {
        let error = String::from_utf8(command.output().unwrap().stderr).unwrap();
        assert!(error.contains("\n  sudo apt-get install --yes --no-install-recommends "), "{error}");
    }
}
