//! A cluster of two HSMs that share a token, each behind a fault-injecting module of its own; without a daemon, in a
//! child process with the environment of its site.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::clock::{Clock, SystemClock};
use holdfast::config::Config;
use holdfast::key_manager::cluster::{Cluster, ClusterError, ClusterKey, ClusterSealed};
use holdfast::key_manager::pkcs11::{ClusterParts, Hsm, HsmCluster, Module};
use holdfast::key_manager::{Encrypted, HealthState, HsmError};
use holdfast::metrics::Metrics;
use holdfast::secret::SecretBytes;
use tokio::runtime::Runtime;

use super::other_tool::other_tool_in;
use super::site::{PIN, SOFTHSM, Setup, Site, isolation, shim_module};
use super::starter::Starter;

const FOLDER: &str = "CLUSTER_FOLDER";
const DONE: &str = "story-done";
const PATIENCE: Duration = Duration::from_secs(10);
pub const TOKEN: &str = "shared";
pub const CLUSTER_ID: &str = "cluster-2a23b4cdefg";
pub const PLAINTEXT: &[u8] = b"Hello World!";

/// The cluster of a site, as key stores use it.
pub struct Members {
    folder: PathBuf,
    modules: Vec<Arc<Module>>,
    runtime: Runtime,
    pub hsms: Vec<Arc<Hsm>>,
    pub cluster: HsmCluster,
}

/// Runs the story of the test of this name in a child process.
#[track_caller]
pub fn story(test: &str, prepare: impl FnOnce() -> Site, story: impl FnOnce(&Members)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let members = Members::start(folder.into());
        story(&members);
        // SoftHSM does not survive calls while the process ends.
        members.inject("one", "");
        members.inject("two", "");
        members.modules.iter().for_each(|module| module.finalize());
        std::fs::write(members.folder.join(DONE), "").unwrap();
        // Nor do two copies of it survive the end of threads then.
        signal_hook::low_level::exit(0);
    }
    let site = prepare();
    let config = Config::load(&site.path("holdfast.toml")).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, site.folder.path())
        .envs(config.environment())
        .output()
        .unwrap();
    let is_done = child.status.success() && site.path(DONE).exists();
    let [stdout, stderr] = [&child.stdout, &child.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(is_done, "{}: {stdout}{stderr}", child.status);
}

/// `one` and `two`, each with a library of its own.
pub fn apart() -> Site {
    apart_with(Setup::default())
}

/// The same in another installation. Its daemon does not run yet.
pub fn apart_with(setup: Setup) -> Site {
    let site = prepare(setup, ["one.so", "two.so"]);
    for name in ["one", "two"] {
        std::fs::copy(shim_module(), site.path(&format!("{name}.so"))).unwrap();
        std::fs::copy(SOFTHSM, site.path(&format!("{name}-softhsm.so"))).unwrap();
        let settings = format!(
            "PKCS11_SHIM_MODULE={}\nPKCS11_SHIM_CONTROL={}\nPKCS11_SHIM_COUNTS={}\n",
            site.path(&format!("{name}-softhsm.so")).display(),
            site.path(&format!("{name}-faults")).display(),
            site.path(&format!("{name}-counts")).display(),
        );
        std::fs::write(site.path(&format!("{name}.so.conf")), settings).unwrap();
    }
    site
}

/// How often a function was called at a member.
pub fn calls_of(folder: &Path, member: &str, function: &str) -> u64 {
    let counts = std::fs::read_to_string(folder.join(format!("{member}-counts"))).unwrap();
    let mut lines = counts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words.first() == Some(&function)).map_or(0, |words| words[1].parse().unwrap())
}

/// `one` and `two`, the same token of the same library.
pub fn twins() -> Site {
    prepare(Setup::default(), [SOFTHSM, SOFTHSM])
}

fn prepare(setup: Setup, [one, two]: [&str; 2]) -> Site {
    let isolation = isolation();
    let tables = setup.tables.clone()
        + &format!(
            r#"
[[cluster]]
id = "{CLUSTER_ID}"
trust_anchor_file = "ca.pem"
module = "{one}"
[[cluster.member]]
name = "one"
{isolation}
token_label = "{TOKEN}"
[[cluster.member]]
name = "two"
{isolation}
module = "{two}"
token_label = "{TOKEN}"
"#
        );
    let site = Site::prepare(&Setup { tables, ..setup });
    site.init_token(TOKEN);
    site
}

/// Faults of one member from the next call on, and no others.
pub fn inject(folder: &Path, member: &str, lines: &str) {
    let new = folder.join("member-faults.new");
    std::fs::write(&new, lines).unwrap();
    std::fs::rename(&new, folder.join(format!("{member}-faults"))).unwrap();
}

pub fn within(time: Duration) -> Instant {
    SystemClock.instant() + time
}

pub fn deadline() -> Instant {
    within(PATIENCE)
}

pub fn password(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

impl Members {
    fn start(folder: PathBuf) -> Self {
        let config = Config::load(&folder.join("holdfast.toml")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().unwrap());
        let settings = &config.clusters[0];
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut starter = Starter::new(&runtime, &metrics, &clock);
        let hsms: Vec<_> = settings.members.iter().map(|member| starter.start(&config, member)).collect();
        let modules = starter.modules;
        let cluster = HsmCluster::new(ClusterParts {
            id: settings.id.clone(),
            trust_anchor: settings.trust_anchor.clone(),
            crypto_user: settings.crypto_user.clone(),
            members: hsms.clone(),
            hedging: config.hedging.clone(),
            clock,
        });
        let members = Self { folder, modules, runtime, hsms, cluster };
        members.probe();
        members
    }

    pub fn probe(&self) {
        self.hsms.iter().for_each(|hsm| self.runtime.block_on(hsm.probe(PATIENCE)));
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn log_in(&self, passwords: &[&str]) -> Result<usize, ClusterError> {
        let passwords = passwords.iter().map(|text| password(text)).collect();
        self.wait(self.cluster.log_in(passwords, deadline()))
    }

    #[track_caller]
    pub fn connected(&self) -> &Self {
        assert_eq!(self.log_in(&[PIN]), Ok(0));
        self
    }

    pub fn active(&self) -> usize {
        self.wait(self.cluster.active_hsms(deadline())).unwrap()
    }

    pub fn create(&self, label: &str) -> Result<ClusterKey, ClusterError> {
        self.wait(self.cluster.create_key(label, deadline()))
    }

    pub fn destroy(&self, label: &str) -> Result<Option<ClusterKey>, ClusterError> {
        self.wait(self.cluster.destroy_key(label, deadline()))
    }

    /// The labels of all keys.
    #[track_caller]
    pub fn labels(&self) -> Vec<String> {
        let keys = self.wait(self.cluster.keys(deadline())).unwrap();
        let mut labels: Vec<_> = keys.into_iter().map(|key| key.label).collect();
        labels.sort();
        labels
    }

    pub fn encrypt(&self, label: &str) -> Result<Encrypted, HsmError> {
        let plaintext = SecretBytes::new(PLAINTEXT.to_vec());
        self.wait(self.cluster.encrypt(label, plaintext, b"context", deadline())).result
    }

    pub fn decrypt(&self, label: &str, encrypted: &Encrypted, aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        let ciphertext_and_tag = [encrypted.ciphertext.as_slice(), &encrypted.tag].concat();
        let sealed = ClusterSealed { iv: &encrypted.iv, ciphertext_and_tag: &ciphertext_and_tag };
        let done = self.wait(self.cluster.decrypt(label, sealed, aad, deadline()));
        done.result.map(|plaintext| plaintext.expose().to_vec())
    }

    #[track_caller]
    pub fn assert_works(&self, label: &str) {
        let encrypted = self.encrypt(label).unwrap();
        assert_eq!(self.decrypt(label, &encrypted, b"context").unwrap(), PLAINTEXT);
    }

    /// State and reason of each member.
    pub fn health(&self) -> Vec<(HealthState, Option<String>)> {
        self.cluster.health().into_iter().map(|member| (member.state, member.reason)).collect()
    }

    pub fn states(&self) -> Vec<HealthState> {
        self.health().into_iter().map(|(state, _)| state).collect()
    }

    pub fn inject(&self, member: &str, lines: &str) {
        inject(&self.folder, member, lines);
    }

    pub fn calls_of(&self, member: &str, function: &str) -> u64 {
        calls_of(&self.folder, member, function)
    }

    /// Another program on the token that the members share.
    pub fn other_tool(&self, order: &str) -> String {
        other_tool_in(&self.folder, TOKEN, order)
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = SystemClock.instant();
        while !condition() {
            assert!(SystemClock.instant() - started < PATIENCE, "{what} did not come about");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Runs something that must not take longer than its deadline, but for what a busy machine adds.
    #[track_caller]
    pub fn in_time<T>(&self, limit: Duration, act: impl FnOnce(Instant) -> T) -> T {
        const MARGIN: Duration = Duration::from_millis(1500);
        let started = SystemClock.instant();
        let result = act(started + limit);
        let took = SystemClock.instant() - started;
        assert!(took < limit + MARGIN, "{took:?}");
        result
    }
}
