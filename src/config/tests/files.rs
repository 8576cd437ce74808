//! The files that a configuration names.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::config::Config;
use crate::config::Credential;
use crate::config::credentials;
use crate::config::private_file;
use crate::config::tests::SMALL;

/// A folder with a small configuration and every file it names.
struct Installation(TempDir);

impl Installation {
    fn new() -> Self {
        let installation = Self(tempfile::tempdir().unwrap());
        installation.write("holdfast.toml", SMALL);
        for name in ["server.pem", "server.key", "module.so"] {
            installation.write(name, "-");
        }
        installation.write("pin", "1234\n");
        credentials::append(&installation.path("credentials.toml"), Credential::generate(1_000).unwrap())
            .unwrap();
        installation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        private_file::replace(&self.path(name), text.as_bytes()).unwrap();
    }

    fn load(&self) -> Result<Config, String> {
        Config::load(&self.path("holdfast.toml")).map_err(|error| error.to_string())
    }

    /// The one line by which the configuration is refused, without the path of the file.
    fn refusal(&self) -> String {
        let error = self.load().unwrap_err();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn a_configuration_is_read_with_the_files_it_names() {
    let installation = Installation::new();
    let policy = "policy_file = \"policy.json\"\ncredentials_file =";
    installation.write("holdfast.toml", &SMALL.replace("credentials_file =", policy));
    installation.write("policy.json", "{}");
    let config = installation.load().unwrap();
    assert_eq!(config.key_stores[0].credentials.len(), 1);
    assert_eq!(config.key_stores[0].policy.as_deref(), Some("{}"));
    assert_eq!(config.hsms[0].read_pin().unwrap().unwrap().expose(), b"1234");
    let watched = ["credentials.toml", "holdfast.toml", "pin", "policy.json", "server.key", "server.pem"];
    assert_eq!(config.watched_files(), watched.map(|name| installation.path(name)));
}

#[test]
fn a_missing_file_is_named_with_the_member_that_names_it() {
    for (file, place) in [
        ("server.pem", "listener `public`: `certificate_file` server.pem"),
        ("server.key", "listener `public`: `private_key_file` server.key"),
        ("module.so", "hsm `token`: `module` module.so"),
        ("pin", "hsm `token`: `pin_file` pin"),
        ("credentials.toml", "key_store `store`: `credentials_file` credentials.toml"),
    ] {
        let installation = Installation::new();
        fs::remove_file(installation.path(file)).unwrap();
        let expected = format!("holdfast.toml: {place}: No such file or directory (os error 2)");
        assert_eq!(installation.refusal(), expected);
        Config::load_without_files(&installation.path("holdfast.toml")).unwrap();
    }
}

#[test]
fn a_secret_that_others_could_read_or_write_is_refused_with_the_command_that_mends_it() {
    for file in ["server.key", "pin", "credentials.toml"] {
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
            let installation = Installation::new();
            let path = installation.path(file);
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refusal = installation.refusal();
            let expected = format!(
                "{file}: mode {mode:04o} lets others read or write this secret; run `chmod 600 {file}`"
            );
            assert!(refusal.ends_with(&expected), "{refusal}");
            fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
            installation.load().unwrap();
        }
    }
}

#[test]
fn a_secret_must_be_a_regular_file_of_ours_with_something_in_it() {
    let installation = Installation::new();
    let pin = installation.path("pin");
    fs::remove_file(&pin).unwrap();
    // Nobody writes to this pipe: the open must not wait.
    rustix::fs::mkfifoat(rustix::fs::CWD, &pin, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(installation.refusal(), "holdfast.toml: hsm `token`: `pin_file` pin: not a regular file");
    fs::remove_file(&pin).unwrap();
    fs::create_dir(&pin).unwrap();
    assert_eq!(installation.refusal(), "holdfast.toml: hsm `token`: `pin_file` pin: not a regular file");
    fs::remove_dir(&pin).unwrap();
    installation.write("pin", "\n");
    assert_eq!(installation.refusal(), "holdfast.toml: hsm `token`: `pin_file` is empty");
    installation.write("pin", &"1".repeat((1 << 20) + 1));
    assert_eq!(
        installation.refusal(),
        "holdfast.toml: hsm `token`: `pin_file` pin: bigger than 1048576 bytes"
    );
    if rustix::process::geteuid().is_root() {
        installation.write("pin", "1234");
        std::os::unix::fs::chown(&pin, Some(12345), None).unwrap();
        let reason = "belongs to user 12345, who is neither root nor the user of this process";
        assert_eq!(installation.refusal(), format!("holdfast.toml: hsm `token`: `pin_file` pin: {reason}"));
    }
}

#[test]
fn a_key_store_without_credential_is_refused() {
    let installation = Installation::new();
    installation.write("credentials.toml", "");
    let reason = "`credentials_file` has no credential: make one with `holdfast credential create`";
    assert_eq!(installation.refusal(), format!("holdfast.toml: key_store `store`: {reason}"));
}

#[test]
fn the_trust_anchor_of_a_cluster_is_a_certificate() {
    let installation = Installation::new();
    let member = |name: &str| format!("[[cluster.member]]\nname = \"{name}\"\ntoken_label = \"{name}\"\n");
    let cluster =
        "[[cluster]]\nid = \"cluster-2a23b4cdefg\"\ntrust_anchor_file = \"ca.crt\"\nmodule = \"module.so\"\n";
    let text = format!("{SMALL}{cluster}{}{}", member("one"), member("two"));
    installation.write("holdfast.toml", &text);
    let place = "holdfast.toml: cluster `cluster-2a23b4cdefg`: `trust_anchor_file` ca.crt:";
    assert_eq!(installation.refusal(), format!("{place} No such file or directory (os error 2)"));
    installation.write("ca.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_eq!(installation.refusal(), format!("{place} not a certificate as PEM"));
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    installation.write("ca.crt", &pem);
    assert_eq!(installation.load().unwrap().clusters[0].trust_anchor, pem);
}
