//! One installation in a directory of its own: token, certificates, configuration, daemon.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use proxy_api::client::Outgoing;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::client::{Reply, Signed, metadata, send};
use super::pki::{Pki, write_private};
use super::token_template;

pub const PIN: &str = "73195-pin-of-a-test";
pub const SO_PIN: &str = "87654321";
pub const ACCESS_KEY_ID: &str = "ABCDEFGHIJKLMNOPQRST";
pub const SECRET_ACCESS_KEY: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=";
pub const CLIENT_CN: &str = "cks.kms.us-east-1.amazonaws.com";
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What a site is to be. The texts are TOML that goes into the named tables.
#[derive(Clone, Default)]
pub struct Setup {
    pub admin: String,
    pub hsm: String,
    pub key_store: String,
    pub limits: String,
    pub health: String,
    /// Whole tables, at the end.
    pub tables: String,
    /// Goes through the fault-injecting module.
    pub shim: bool,
    /// Serves the KMS API too; the text is TOML that goes into `[kms]` and what follows it.
    pub kms: Option<String>,
    /// External key ids and usages to make, besides the four keys of the official client.
    pub keys: Vec<(String, String)>,
}

/// An installation, and its daemon if it runs.
pub struct Site {
    pub folder: TempDir,
    pub port: u16,
    pub mtls_port: u16,
    pub admin_port: u16,
    pub kms_port: u16,
    pub pki: Arc<Pki>,
    pub runtime: Runtime,
    daemon: RefCell<Option<Child>>,
}

impl Site {
    /// An installation with a running daemon that is ready.
    pub fn start() -> Self {
        Self::start_with(&Setup::default())
    }

    pub fn start_with(setup: &Setup) -> Self {
        let site = Self::prepare(setup);
        site.run();
        site.wait_ready();
        site
    }

    /// An installation whose daemon does not run yet.
    pub fn prepare(setup: &Setup) -> Self {
        let site = Self::without_token(setup);
        token_template::copy_to(&site.path("tokens"));
        for (id, usage) in &setup.keys {
            site.create_token_key(id, usage);
        }
        site
    }

    pub(super) fn without_token(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, mtls_port, admin_port, kms_port] = free_ports();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let pki = Arc::new(Pki::new("Test CA"));
        let daemon = RefCell::new(None);
        let site = Self { folder, port, mtls_port, admin_port, kms_port, pki, runtime, daemon };
        site.write_files(setup);
        site
    }

    pub(super) fn create_token_key(&self, id: &str, usage: &str) {
        self.holdfast_ok(&["key", "create", id, "--usage", usage, "--hsm", "softhsm"]);
    }

    fn write_files(&self, setup: &Setup) {
        std::fs::create_dir(self.path("tokens")).unwrap();
        let softhsm = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            self.path("tokens").display()
        );
        std::fs::write(self.path("softhsm2.conf"), softhsm).unwrap();
        write_private(&self.path("pin"), PIN);
        let credential = format!(
            "[[credential]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET_ACCESS_KEY}\"\ncreated = 2026-01-01T00:00:00Z\n"
        );
        write_private(&self.path("credentials.toml"), &credential);
        let (certificate, key) = self.pki.server();
        std::fs::write(self.path("server.pem"), certificate).unwrap();
        write_private(&self.path("server.key"), &key);
        std::fs::write(self.path("ca.pem"), &self.pki.ca_pem).unwrap();
        let kms = setup.kms.as_ref().map(|members| self.kms_configuration(members)).unwrap_or_default();
        std::fs::write(self.path("holdfast.toml"), self.configuration(setup) + &kms).unwrap();
    }

    fn configuration(&self, setup: &Setup) -> String {
        let Self { port, mtls_port, admin_port, .. } = self;
        let module = if setup.shim { shim_module() } else { PathBuf::from(SOFTHSM) };
        let shim = if setup.shim {
            format!(
                "PKCS11_SHIM_MODULE = \"{SOFTHSM}\"\nPKCS11_SHIM_CONTROL = \"{}\"\nPKCS11_SHIM_COUNTS = \"{}\"\n",
                self.path("faults").display(),
                self.path("counts").display()
            )
        } else {
            String::new()
        };
        // A busy machine is slower than AWS KMS is patient; tests of the deadline set their own.
        let deadline =
            if setup.limits.contains("request_deadline_ms") { "" } else { "request_deadline_ms = 10000" };
        let isolation = if setup.hsm.contains("isolation") { String::new() } else { isolation() };
        let Setup { admin, hsm, key_store, limits, health, tables, .. } = setup;
        format!(
            r#"state_dir = "state"
[admin]
listen = "127.0.0.1:{admin_port}"
{admin}
[[listener]]
name = "https"
listen = "127.0.0.1:{port}"
certificate_file = "server.pem"
private_key_file = "server.key"
[[listener]]
name = "mtls"
listen = "127.0.0.1:{mtls_port}"
certificate_file = "server.pem"
private_key_file = "server.key"
[listener.client_auth]
ca_file = "ca.pem"
subjects = ["{CLIENT_CN}"]
[[hsm]]
name = "softhsm"
module = "{}"
token_label = "holdfast"
pin_file = "pin"
{isolation}
{hsm}
[hsm.environment]
SOFTHSM2_CONF = "{}"
{shim}
[[key_store]]
name = "test"
uri_path_prefix = "test"
hsms = ["softhsm"]
credentials_file = "credentials.toml"
{key_store}
[limits]
{deadline}
{limits}
[health]
{health}
{tables}
"#,
            module.display(),
            self.path("softhsm2.conf").display()
        )
    }

    /// Makes another token in the site's token directory.
    pub fn init_token(&self, label: &str) {
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN])
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes the configuration file.
    pub fn edit_configuration(&self, edit: impl FnOnce(String) -> String) {
        let path = self.path("holdfast.toml");
        std::fs::write(&path, edit(std::fs::read_to_string(&path).unwrap())).unwrap();
    }

    /// Starts the daemon without waiting for it.
    pub fn run(&self) {
        self.run_as(&mut Command::new(env!("CARGO_BIN_EXE_holdfast")));
    }

    /// Starts the daemon in the surroundings that these shell commands make.
    pub fn run_after(&self, commands: &str) {
        let script = format!("{commands}; exec \"$0\" \"$@\"");
        self.run_as(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_holdfast")]));
    }

    fn run_as(&self, command: &mut Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let child = command
            .args(["serve", "--config"])
            .arg(self.path("holdfast.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.daemon.borrow_mut() = Some(child);
    }

    pub fn wait_ready(&self) {
        self.wait_until("ready", || {
            if let Some(status) = self.exit_status() {
                panic!("the daemon ended with {status}: {}", self.log());
            }
            self.admin_status("/readyz") == Some(200)
        });
    }

    /// Waits for a condition, and says which when it does not come.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = SystemClock.instant();
        while !condition() {
            assert!(
                SystemClock.instant() - started < START_TIMEOUT,
                "{what} did not come about: {}",
                self.log()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub fn exit_status(&self) -> Option<std::process::ExitStatus> {
        self.daemon.borrow_mut().as_mut().and_then(|child| child.try_wait().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.daemon.borrow().as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&self) -> std::process::ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        let mut daemon = self.daemon.borrow_mut().take().unwrap();
        daemon.wait().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut daemon) = self.daemon.borrow_mut().take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The lines of the request log.
    pub fn request_lines(&self) -> Vec<Value> {
        let lines = self.log();
        let parsed = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["message"] == "xks request").collect()
    }

    /// Runs a `holdfast` command on this site.
    pub fn holdfast(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(arguments)
            .env("HOLDFAST_CONFIG", self.path("holdfast.toml"))
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    #[track_caller]
    pub fn holdfast_ok(&self, arguments: &[&str]) -> String {
        let output = self.holdfast(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A plain GET on the admin listener.
    pub fn admin(&self, path: &str) -> Option<(u16, String)> {
        self.admin_request("GET", path)
    }

    /// A request without a body to the admin listener.
    pub fn admin_request(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
            .write_all(
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    pub fn admin_status(&self, path: &str) -> Option<u16> {
        self.admin(path).map(|(status, _)| status)
    }

    /// The value of the metric line that starts with `series`, labels included.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.admin("/metrics")?;
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// A signed POST under the prefix of the store `test`, for example to `keys/foo/encrypt`.
    pub fn signed(&self, path: &str, body: &Value) -> Signed {
        Signed::new(&format!("/test/kms/xks/v1/{path}"), body, ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    }

    pub fn send(&self, outgoing: &Outgoing) -> Reply {
        send(&self.runtime, &self.host(), &self.pki.ca_pem, outgoing)
    }

    pub fn send_signed(&self, signed: &Signed) -> Reply {
        self.send(&signed.outgoing(&self.host()))
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send_signed(&self.signed(path, body))
    }

    pub fn health(&self) -> Reply {
        self.post(
            "health",
            &json!({"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "health-1"}}),
        )
    }

    pub fn key_metadata(&self, key: &str) -> Reply {
        self.post(&format!("keys/{key}/metadata"), &json!({"requestMetadata": metadata("CreateKey")}))
    }

    /// Encrypts; `members` override or add to the request.
    pub fn encrypt(&self, key: &str, plaintext: &[u8], members: Value) -> Reply {
        let request = json!({
            "requestMetadata": metadata("Encrypt"),
            "plaintext": proxy_api::wire::encode_base64(plaintext),
            "encryptionAlgorithm": "AES_GCM",
        });
        self.post(&format!("keys/{key}/encrypt"), &merged(request, members))
    }

    /// The Decrypt request for an answer of Encrypt.
    pub fn decrypt_request(&self, encrypted: &Value, members: Value) -> Value {
        let request = json!({
            "requestMetadata": metadata("Decrypt"),
            "ciphertext": encrypted["ciphertext"],
            "initializationVector": encrypted["initializationVector"],
            "authenticationTag": encrypted["authenticationTag"],
            "encryptionAlgorithm": "AES_GCM",
        });
        let metadata = json!({ "ciphertextMetadata": encrypted["ciphertextMetadata"] });
        merged(merged(request, metadata), members)
    }

    /// Decrypts an answer of Encrypt; `members` override or add to the request, `null` removes.
    pub fn decrypt(&self, key: &str, encrypted: &Value, members: Value) -> Reply {
        self.post(&format!("keys/{key}/decrypt"), &self.decrypt_request(encrypted, members))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `members` over `object`; a `null` removes.
pub fn merged(mut object: Value, members: Value) -> Value {
    let map = object.as_object_mut().unwrap();
    if let Value::Object(members) = members {
        for (name, value) in members {
            if value.is_null() {
                map.remove(&name);
            } else {
                map.insert(name, value);
            }
        }
    }
    object
}

/// The fault-injecting module, which cargo has built as a dependency of this binary.
pub fn shim_module() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_holdfast"));
    binary.with_file_name("deps").join("libpkcs11_shim.so")
}

/// `HOLDFAST_TEST_ISOLATION=process` runs the suite with worker processes.
pub fn isolation() -> String {
    let isolation = std::env::var_os("HOLDFAST_TEST_ISOLATION").unwrap_or("thread".into());
    format!("isolation = \"{}\"", isolation.to_str().unwrap())
}

/// Ports that nobody listens on, below those that the system gives to clients: such a one another test could have
/// by the time the daemon binds it.
pub fn free_ports<const N: usize>() -> [u16; N] {
    const PORTS: std::ops::Range<u64> = 10_000..32_000;
    let sockets = [(); N].map(|()| {
        let listen = || {
            let random = RandomState::new().build_hasher().finish();
            let port = PORTS.start + random % (PORTS.end - PORTS.start);
            TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).ok()
        };
        std::iter::repeat_with(listen).flatten().next().unwrap()
    });
    sockets.map(|socket| socket.local_addr().unwrap().port())
}
