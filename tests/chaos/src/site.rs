//! An installation with two HSMs that hold the same keys: two tokens of SoftHSM, each behind a copy of the shim.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use proxy_api::client::{Connection, Endpoint, HttpVersions, Signer, TlsTrust};
use serde_json::json;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::load::kms::{Kms, members};
use crate::load::xks::{Cdiv, Control, Xks};
use crate::member::Member;

/// A key whose value is known outside too; text, because SoftHSM's tool reads a line.
pub const KNOWN_KEY: &str = "0123456789abcdef0123456789ABCDEF";
pub const KNOWN_KEY_LABEL: &str = "known";
/// Lines of the configuration of an HSM.
pub const PROCESS: &str = "isolation = \"process\"";
pub const CHECK_ENCRYPTIONS: &str = "check_encryptions = true";
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const FIRST_LABEL: &str = "holdfast";
const SECOND_LABEL: &str = "holdfas2";

/// What is measured, and with what.
pub struct Programs {
    pub holdfast: PathBuf,
    pub shim: PathBuf,
}

/// How a member's library is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Thread,
    Process,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub isolation: Isolation,
    pub check_encryptions: bool,
    pub logs_requests: bool,
}

/// Tokens, certificates, credentials and a KMS key, made once.
pub struct Template {
    folder: TempDir,
    programs: Programs,
    environment: BTreeMap<String, String>,
    kms_key_id: String,
}

/// A copy of the template, and its daemon.
pub struct Site {
    folder: TempDir,
    port: u16,
    kms_port: u16,
    ca_pem: Vec<u8>,
    environment: BTreeMap<String, String>,
    kms_key_id: String,
    pub first: Member,
    pub second: Member,
    pub daemon: Daemon,
}

impl Template {
    pub fn make(programs: Programs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let base = free_ports(5);
        let provision = ["provision", "--port-base", &base.to_string(), "--dir"];
        run(Command::new(&programs.holdfast).args(provision).arg(root));
        let environment = read_environment(&root.join("env"));
        import_known_key(root);
        let kms_key_id = make_kms_key(&programs.holdfast, root, base, &environment);
        let is_first = |token: &PathBuf| {
            fs::read(token.join("token.object"))
                .unwrap()
                .windows(8)
                .any(|bytes| bytes == FIRST_LABEL.as_bytes())
        };
        let (first, others): (Vec<_>, Vec<_>) = entries(&root.join("tokens")).into_iter().partition(is_first);
        others.iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
        copy_token(&first[0], &root.join("tokens/second"));
        fs::rename(&first[0], root.join("tokens/first")).unwrap();
        Self { folder, programs, environment, kms_key_id }
    }

    /// Whether the daemon knows this member of `[[hsm]]`.
    pub fn can(&self, member: &str) -> bool {
        let path = self.folder.path().join("tried.toml");
        let text = fs::read_to_string(self.folder.path().join("holdfast.toml")).unwrap();
        fs::write(&path, text.replacen("[[hsm]]", &format!("[[hsm]]\n{member}"), 1)).unwrap();
        let mut check = Command::new(&self.programs.holdfast);
        check.args(["config", "check", "--config"]).arg(path).output().unwrap().status.success()
    }

    /// A site of its own, with a daemon that is ready.
    pub fn start(&self, setup: &Setup) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        copy_folder(self.folder.path(), &root);
        let softhsm = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            root.join("tokens").display()
        );
        fs::write(root.join("softhsm2.conf"), softhsm).unwrap();
        for name in ["first", "second"] {
            let in_folder = |suffix: &str| root.join(format!("{name}{suffix}"));
            fs::copy(&self.programs.shim, in_folder(".so")).unwrap();
            fs::copy(SOFTHSM, in_folder("-softhsm.so")).unwrap();
            let settings = format!(
                "PKCS11_SHIM_MODULE={}\nPKCS11_SHIM_CONTROL={}\nPKCS11_SHIM_COUNTS={}\n",
                in_folder("-softhsm.so").display(),
                in_folder(".faults").display(),
                in_folder(".counts").display()
            );
            fs::write(in_folder(".so.conf"), settings).unwrap();
        }
        for key_store in ["one", "other"] {
            fs::copy(root.join("credentials.toml"), root.join(format!("{key_store}-credentials.toml")))
                .unwrap();
        }
        let base = free_ports(3);
        fs::write(root.join("holdfast.toml"), configuration(&root, base, setup)).unwrap();
        let mut daemon = Daemon::start(&self.programs.holdfast, &root, base + 2);
        daemon.wait_ready();
        Site {
            port: base,
            kms_port: base + 1,
            ca_pem: fs::read(root.join("tls/ca.pem")).unwrap(),
            environment: self.environment.clone(),
            kms_key_id: self.kms_key_id.clone(),
            first: Member::new("first", &root),
            second: Member::new("second", &root),
            daemon,
            folder,
        }
    }
}

impl Site {
    /// Requests to a key store.
    pub fn xks(&self, key_store: &str, cdiv: Cdiv) -> Arc<Xks> {
        Arc::new(Xks::new(endpoint(self.port, &self.ca_pem), self.signer(), key_store, cdiv))
    }

    /// Requests to the same port that no HSM is asked for.
    pub fn control(&self, key_store: &str) -> Arc<Control> {
        Arc::new(Control::new(endpoint(self.port, &self.ca_pem), self.signer(), key_store))
    }

    fn signer(&self) -> Signer {
        let [id, secret, region] = ["SIGV4_ACCESS_KEY_ID", "SIGV4_SECRET_ACCESS_KEY", "REGION"];
        Signer::new(&self.environment[id], &self.environment[secret], &self.environment[region])
    }

    pub fn kms(&self) -> Arc<Kms> {
        Arc::new(kms_client(endpoint(self.kms_port, &self.ca_pem), &self.environment, &self.kms_key_id))
    }

    /// Leaves the folder for whoever wants to know why.
    pub fn keep(self) -> PathBuf {
        let Self { folder, daemon, .. } = self;
        drop(daemon);
        folder.keep()
    }
}

fn endpoint(port: u16, ca_pem: &[u8]) -> Endpoint {
    Endpoint::https(&format!("localhost:{port}"), &TlsTrust::new(ca_pem), HttpVersions::Http1).unwrap()
}

fn kms_client(endpoint: Endpoint, environment: &BTreeMap<String, String>, key_id: &str) -> Kms {
    Kms {
        endpoint,
        access_key_id: environment["AWS_ACCESS_KEY_ID"].clone(),
        secret_access_key: environment["AWS_SECRET_ACCESS_KEY"].clone(),
        region: environment["AWS_DEFAULT_REGION"].clone(),
        key_id: key_id.to_owned(),
        kept: Arc::default(),
    }
}

/// The standard output of a program that must succeed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn read_environment(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

fn import_known_key(root: &Path) {
    fs::write(root.join("known"), KNOWN_KEY).unwrap();
    let pin = fs::read_to_string(root.join("pin")).unwrap();
    let arguments =
        ["--aes", "--token", FIRST_LABEL, "--pin", pin.trim(), "--label", KNOWN_KEY_LABEL, "--id", "31"];
    run(Command::new("softhsm2-util")
        .args(arguments)
        .arg("--import")
        .arg(root.join("known"))
        .env("SOFTHSM2_CONF", root.join("softhsm2.conf")));
}

/// A daemon with one HSM makes root key and KMS key, which the second HSM gets as a copy of its token.
fn make_kms_key(holdfast: &Path, root: &Path, base: u16, environment: &BTreeMap<String, String>) -> String {
    let mut daemon = Daemon::start(holdfast, root, base + 4);
    daemon.wait_ready();
    let endpoint = endpoint(base + 2, &fs::read(root.join("tls/ca.pem")).unwrap());
    let kms = kms_client(endpoint.clone(), environment, "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let created = runtime.block_on(async {
        let mut connection = Connection::open(&endpoint).await.unwrap();
        let answer = connection.send(kms.signed("CreateKey", &json!({}))).await.unwrap();
        members(&answer).unwrap()
    });
    daemon.stop();
    created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in entries(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// With another label and serial number, by which SoftHSM tells tokens apart.
fn copy_token(from: &Path, to: &Path) {
    copy_folder(from, to);
    let path = to.join("token.object");
    let mut object = fs::read(&path).unwrap();
    let name = from.file_name().unwrap().to_str().unwrap().replace('-', "");
    let serial = &name[name.len() - 16..];
    let other: String = serial.chars().rev().collect();
    for (old, new) in [(FIRST_LABEL, SECOND_LABEL), (serial, other.as_str())] {
        let at = object.windows(old.len()).position(|bytes| bytes == old.as_bytes()).unwrap();
        object[at..at + old.len()].copy_from_slice(new.as_bytes());
    }
    fs::write(path, object).unwrap();
}

/// The first of so many consecutive ports that nobody listens on, below those that the system gives to clients.
fn free_ports(count: u16) -> u16 {
    let seed = std::process::id() as u16 ^ crate::clock::unix_seconds() as u16;
    let bases = (0..2000_u16).map(|step| 10_000 + (seed.wrapping_add(step.wrapping_mul(37)) % 2_000) * 10);
    let is_free =
        |base: &u16| (0..count).all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok());
    bases.into_iter().find(is_free).unwrap()
}

/// Everything that is not named here is as it is by default.
fn configuration(root: &Path, base: u16, setup: &Setup) -> String {
    let isolation = match setup.isolation {
        Isolation::Thread => "",
        Isolation::Process => PROCESS,
    };
    let check = if setup.check_encryptions { CHECK_ENCRYPTIONS } else { "" };
    let hsm = |name: &str, label: &str| {
        format!(
            "[[hsm]]\nname = \"{name}\"\nmodule = \"{name}.so\"\ntoken_label = \"{label}\"\npin_file = \"pin\"\n{isolation}\n{check}\n\
             [hsm.environment]\nSOFTHSM2_CONF = \"{}\"\n",
            root.join("softhsm2.conf").display()
        )
    };
    let tls = "certificate_file = \"tls/server.pem\"\nprivate_key_file = \"tls/server.key\"";
    let key_store = |name: &str| {
        format!(
            "[[key_store]]\nname = \"{name}\"\nuri_path_prefix = \"{name}\"\nhsms = [\"first\", \"second\"]\n\
             credentials_file = \"{name}-credentials.toml\"\n"
        )
    };
    format!(
        r#"state_dir = "state"
[admin]
listen = "127.0.0.1:{admin}"
[[listener]]
name = "https"
listen = "127.0.0.1:{base}"
{tls}
[kms]
hsms = ["first", "second"]
identities_file = "accounts.toml"
[[kms.listener]]
name = "kms"
listen = "127.0.0.1:{kms}"
{tls}
[kms.request_quotas]
enabled = false
[log]
requests = {logs}
[dev]
with_any_module = true
{first}{second}{one}{other}"#,
        admin = base + 2,
        kms = base + 1,
        logs = setup.logs_requests,
        first = hsm("first", FIRST_LABEL),
        second = hsm("second", SECOND_LABEL).replacen(
            "[hsm.environment]",
            "session_copies = true\n[hsm.environment]",
            1
        ),
        one = key_store("one"),
        other = key_store("other"),
    )
}
