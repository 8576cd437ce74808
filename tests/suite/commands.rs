//! The commands an operator types: what they print, where the secret goes, how they fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use rcgen::{CertificateParams, date_time_ymd};
use serde_json::Value;

use crate::support::pki::{Pki, write_private};
use crate::support::provisioned::Provisioned;

fn holdfast(folder: &Provisioned, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.args(arguments).current_dir(folder.parent());
    command.env("HOLDFAST_CONFIG", folder.path("holdfast.toml")).env_remove("HOLDFAST_LOG").output().unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What is on standard error of a command that failed.
#[track_caller]
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_credential_goes_from_create_to_remove() {
    let folder = Provisioned::new();
    let created = printed(&holdfast(&folder, &["credential", "create", "--store", "quickstart"]));
    let path = folder.parent().join("quickstart-xks-proxy-configuration.json");
    let configuration = json(&path);
    assert_eq!(configuration["XksProxyUriPath"], "/quickstart/kms/xks/v1");
    let credential = &configuration["XksProxyAuthenticationCredential"];
    let id = credential["AccessKeyId"].as_str().unwrap();
    let secret = credential["RawSecretAccessKey"].as_str().unwrap();
    assert_eq!((id.len(), secret.len()), (26, 44));
    assert!(
        created.starts_with(&format!("made credential {id} of key store quickstart\n"))
            && !created.contains(secret)
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(folder.read("credentials.toml").contains(secret));

    let first = folder.variables()["SIGV4_ACCESS_KEY_ID"].clone();
    let listed = printed(&holdfast(&folder, &["credential", "list", "--store", "quickstart"]));
    let lines: Vec<_> = listed.lines().collect();
    assert!(
        lines[1].starts_with(&first) && lines[2].starts_with(id) && lines[2].ends_with(" 0 d"),
        "{listed}"
    );
    assert!(!listed.contains(secret));

    let remove = |id: &str| holdfast(&folder, &["credential", "remove", "--store", "quickstart", id]);
    assert!(
        printed(&remove(&first))
            .starts_with(&format!("removed credential {first} of key store quickstart\n"))
    );
    assert!(refusal(&remove(&first)).ends_with(&format!("no access key id `{first}`\n")));
    assert!(refusal(&remove(id)).ends_with("the last credential cannot be removed\n"));
    // The quick start goes over to the credential that is left.
    folder.run_ok(&[]);
    assert_eq!(folder.variables()["SIGV4_ACCESS_KEY_ID"], id);
}

#[test]
fn a_proxy_configuration_file_is_replaced_only_by_force() {
    let folder = Provisioned::new();
    let out = folder.parent().join("out.json");
    fs::write(&out, "mine").unwrap();
    let before = folder.read("credentials.toml");
    let create = |more: &[&str]| {
        let arguments =
            [&["credential", "create", "--store", "quickstart", "--out", "out.json"], more].concat();
        holdfast(&folder, &arguments)
    };
    assert_eq!(refusal(&create(&[])), "holdfast: out.json exists; `--force` replaces it\n");
    assert_eq!(
        (fs::read_to_string(&out).unwrap(), folder.read("credentials.toml")),
        ("mine".into(), before.clone())
    );
    printed(&create(&["--force"]));
    let id = json(&out)["XksProxyAuthenticationCredential"]["AccessKeyId"].as_str().unwrap().to_owned();
    assert!(folder.read("credentials.toml").contains(&id));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_credential_that_cannot_be_written_down_is_not_made() {
    let folder = Provisioned::new();
    let before = folder.read("credentials.toml");
    let create = ["credential", "create", "--store", "quickstart", "--out", "nowhere/out.json"];
    let refusal = refusal(&holdfast(&folder, &create));
    assert!(refusal.starts_with("holdfast: nowhere/out.json: "), "{refusal}");
    assert_eq!(folder.read("credentials.toml"), before);
}

#[test]
fn the_first_credential_of_a_key_store_can_be_made() {
    let folder = Provisioned::new();
    fs::remove_file(folder.path("credentials.toml")).unwrap();
    assert!(refusal(&holdfast(&folder, &["config", "check"])).contains("`credentials_file` "));
    printed(&holdfast(&folder, &["credential", "create", "--store", "quickstart"]));
    printed(&holdfast(&folder, &["config", "check"]));
}

#[test]
fn an_unknown_key_store_is_answered_with_the_known_ones() {
    let folder = Provisioned::new();
    for arguments in [&["credential", "create", "--store", "x"][..], &["credential", "list", "--store", "x"]]
    {
        let expected = "holdfast: no key store has this name; there are: quickstart\n";
        assert_eq!(refusal(&holdfast(&folder, arguments)), expected);
    }
}

#[test]
fn a_configuration_is_checked_and_every_fault_is_a_line() {
    let folder = Provisioned::new();
    let right = printed(&holdfast(&folder, &["config", "check"]));
    let path = folder.path("holdfast.toml");
    assert_eq!(right, format!("{} is right: listeners 4, HSMs 1, key stores 1\n", path.display()));

    fs::set_permissions(folder.path("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(folder.path("tls/server.pem")).unwrap();
    let refusal = refusal(&holdfast(&folder, &["config", "check"]));
    let lines: Vec<_> = refusal.lines().collect();
    // The certificate is that of three listeners.
    assert_eq!(lines.len(), 4, "{refusal}");
    assert!(lines.iter().all(|line| line.starts_with(&format!("holdfast: {}: ", path.display()))));
    let pin = folder.path("pin").display().to_string();
    let chmod = format!("{pin}: mode 0644 lets others read or write this secret; run `chmod 600 {pin}`");
    assert!(lines[3].ends_with(&chmod), "{refusal}");
}

#[test]
fn what_is_in_the_files_is_told_at_once_too() {
    let folder = Provisioned::new();
    let check = || holdfast(&folder, &["config", "check"]);
    let pki = Pki::new("another");
    let (certificate, key) = pki.server();
    write_private(&folder.path("tls/server.key"), &key);
    for secret in ["pin", "accounts.toml"] {
        fs::set_permissions(folder.path(secret), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let refused = refusal(&check());
    assert_eq!(refused.matches("does not belong to the first certificate").count(), 3, "{refused}");
    assert_eq!(refused.matches("mode 0644 lets others read").count(), 2, "{refused}");
    assert_eq!(refused.lines().count(), 5, "{refused}");

    for secret in ["pin", "accounts.toml"] {
        fs::set_permissions(folder.path(secret), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(folder.path("tls/server.pem"), certificate).unwrap();
    assert!(!printed(&check()).contains("expired"));
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let (certificate, key) = pki.issue(params);
    fs::write(folder.path("tls/server.pem"), certificate).unwrap();
    write_private(&folder.path("tls/server.key"), &key);
    let warned = printed(&check());
    let warning = format!("the certificate in {} has expired", folder.path("tls/server.pem").display());
    assert_eq!(
        warned.lines().filter(|line| line.starts_with("warning: ") && line.ends_with(&warning)).count(),
        3
    );
}

#[test]
fn the_default_configuration_is_printed() {
    let folder = Provisioned::nothing("unused");
    let default = printed(&holdfast(&folder, &["config", "default"]));
    assert_eq!(default, holdfast::config::DEFAULT);
}

/// As `| head` does.
#[test]
fn a_reader_who_has_seen_enough_is_told_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    let output = command.args(["config", "print-default"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]), "{output:?}");
}

#[test]
fn usage_errors_have_their_own_exit_status() {
    let folder = Provisioned::nothing("unused");
    for arguments in [&[][..], &["unknown"], &["credential", "create"], &["config"]] {
        assert_eq!(holdfast(&folder, arguments).status.code(), Some(2), "{arguments:?}");
    }
}
