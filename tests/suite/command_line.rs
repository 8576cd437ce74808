//! The command line: its help texts as they are written down, and one clear line for what cannot be done.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast::config::environment;

use crate::support::pki::write_private;
use crate::support::site::SECRET_ACCESS_KEY;
use crate::support::{Setup, Site};

/// `holdfast` with an environment in which nothing is set.
fn holdfast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast")).args(arguments).env_clear().output().unwrap()
}

fn help(command: &[&str]) -> String {
    let output = holdfast(&[command, &["--help"]].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // Further lines of a description are indented more.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = names.filter_map(|line| line.split(' ').next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// Every command and subcommand with its help text.
fn all_help(command: &[&str]) -> Vec<(String, String)> {
    let text = help(command);
    let below: Vec<_> =
        subcommands(&text).iter().flat_map(|name| all_help(&[command, &[name.as_str()]].concat())).collect();
    let name = [&["holdfast"], command].concat().join("-");
    std::iter::once((name, text)).chain(below).collect()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help").join(name)
}

/// `UPDATE_GOLDEN=1` writes them down anew.
#[test]
fn help_texts_are_as_written_down() {
    let texts = all_help(&[]);
    if environment::variable("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden("")).unwrap();
        for (name, text) in &texts {
            std::fs::write(golden(&format!("{name}.txt")), text).unwrap();
        }
    }
    for (name, text) in &texts {
        let expected = std::fs::read_to_string(golden(&format!("{name}.txt"))).unwrap_or_default();
        assert_eq!(text, &expected, "{name}");
    }
    assert_eq!(std::fs::read_dir(golden("")).unwrap().count(), texts.len(), "a command is gone");
}

/// `UPDATE_GOLDEN=1` writes the page anew.
#[test]
fn the_reference_has_every_command() {
    let mut page = "# Commands\n\nWhat `--help` says of each command; `-h` says it in short. `holdfast man DIR` writes the same as manual \
                    pages,\n`holdfast completion SHELL` what a shell needs to complete it.\n"
        .to_owned();
    for (name, text) in all_help(&[]) {
        let command = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or(&name);
        let words: Vec<_> = command
            .split(' ')
            .take_while(|word| word.starts_with(|first: char| first.is_ascii_lowercase()))
            .collect();
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        page.push_str(&format!("\n## {}\n\n```text\n{}\n```\n", words.join(" "), lines.join("\n")));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cli.md");
    if environment::variable("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page);
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = holdfast(&["completion", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && script.contains("doctor") && script.contains("print-default"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert!(holdfast(&["man", pages.to_str().unwrap()]).status.success());
    for (name, _) in all_help(&[]) {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("Examples:") || name == "holdfast", "{name}");
    }
}

#[test]
fn the_old_name_of_print_default_still_works() {
    let outputs = ["default", "print-default"].map(|name| holdfast(&["config", name]));
    assert!(outputs[0].status.success() && outputs[0].stdout == outputs[1].stdout);
}

#[test]
fn no_help_text_shows_a_secret_of_the_environment() {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["check", "--help"])
        .env("SIGV4_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(!String::from_utf8(output.stdout).unwrap().contains(SECRET_ACCESS_KEY));
}

#[test]
fn an_option_of_the_environment_is_not_asked_for() {
    let site = Site::prepare(&Setup::default());
    let check = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .arg("check")
        .env_clear()
        .env("HOLDFAST_CA", site.path("ca.pem"))
        .output()
        .unwrap();
    let error = String::from_utf8(check.stderr).unwrap();
    assert!(error.contains("--host <HOST>") && !error.contains("--ca"), "{error}");
    let empty = |variable: &str| {
        Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["config", "check"])
            .env_clear()
            .env(variable, "")
            .output()
            .unwrap()
    };
    assert_eq!(empty("HOLDFAST_CONFIG"), empty("UNUSED"), "as if there were none");
}

/// What a command on this site says when it refuses: one line, without its start.
#[track_caller]
fn refusal(site: &Site, arguments: &[&str]) -> String {
    let output = site.holdfast(arguments);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    let line = error.strip_prefix("holdfast: ").unwrap().strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{error}");
    line.to_owned()
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let site = Site::prepare(&Setup::default());
    for (arguments, expected) in [
        (&["key", "create", "foo"][..], "key `foo` exists already; `rotate` makes a new version"),
        (&["key", "rotate", "nobody"], "no key `nobody` in the token"),
        (&["key", "describe", "nobody"], "no key `nobody` in the token"),
        (&["key", "disable", "nobody"], "no key `nobody` in the token"),
        (&["key", "delete", "nobody", "--confirm", "nobody"], "no key `nobody` in the token"),
        (&["key", "delete", "foo", "--confirm", "bar"], "--confirm must repeat the key id `foo`"),
        (&["key", "delete", "foo", "--confirm", "foo", "--version", "7"], "key `foo` has no version 7"),
        (
            &["key", "delete", "foo", "--confirm", "foo", "--version", "1"],
            "version 1 of key `foo` is the newest, which encrypts; rotate first, or delete the key",
        ),
        (&["key", "list", "--hsm", "another"], "no HSM is named `another`; there are: softhsm"),
        (&["store", "block", "another"], "no key store is named `another`; `holdfast store list` shows them"),
    ] {
        assert_eq!(refusal(&site, arguments), expected, "{arguments:?}");
    }
    let missing = site.path("missing.toml").display().to_string();
    for command in [&["serve"][..], &["config", "check"], &["key", "list"], &["store", "list"]] {
        let line = refusal(&site, &[command, &["--config", &missing]].concat());
        assert_eq!(line, format!("{missing}: file: No such file or directory (os error 2)"));
    }
    write_private(&site.path("pin"), "a wrong one");
    assert_eq!(
        refusal(&site, &["key", "list"]),
        "C_Login returned PinIncorrect; it is not tried again, since HSMs lock users"
    );
    // Nothing of all that has changed a key.
    write_private(&site.path("pin"), crate::support::site::PIN);
    assert_eq!(site.holdfast_ok(&["key", "list"]).lines().count(), 6);
}

#[test]
fn keys_are_not_changed_by_another_user_than_the_daemon() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::prepare(&Setup::default());
    std::fs::create_dir(site.path("state")).unwrap();
    std::os::unix::fs::chown(site.path("state"), Some(65534), None).unwrap();
    let line = refusal(&site, &["key", "rotate", "foo"]);
    assert!(line.ends_with("whom the daemon runs as: `sudo -u '#65534' holdfast …`"), "{line}");
    assert!(site.holdfast_ok(&["key", "list"]).contains("foo"));
}

#[test]
fn what_is_no_command_is_a_usage_error() {
    for arguments in [
        &["key"][..],
        &["key", "create"],
        &["key", "create", "not an id"],
        &["key", "create", "foo", "--usage", "sign"],
        &["key", "delete", "foo"],
        &["key", "delete", "foo", "--confirm", "foo", "--version", "newest"],
        &["store", "block"],
        &["serve", "--unknown"],
        &["provision"],
        &["check"],
        &["check", "--rate", "0"],
    ] {
        let output = holdfast(arguments);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("error: ") || error.contains("Usage: holdfast"), "{error}");
    }
}
