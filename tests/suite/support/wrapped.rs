//! KMS keys over a token, without a daemon: a library takes its settings from the environment once a process, so a
//! story runs in a child process with the environment of its site.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::clock::{Clock, SystemClock};
use holdfast::config::Config;
use holdfast::domain::kms::{
    KeyKind, KeySpec, MATERIAL_ID_BYTES, MaterialId, WrappingAlgorithm, WrappingKeySpec,
};
use holdfast::key_manager::backing_key::{
    BackingKey, BackingKeys, Computation, ComputeUnder, DecryptUnder, EncryptUnder, ImportedKey, KeyOrder,
    KeyPair, RootKeyId, ToImport, WrappingKey,
};
use holdfast::key_manager::pkcs11::{Hsm, Module, WrappedKeyGroup};
use holdfast::key_manager::{Encrypted, HsmError};
use holdfast::metrics::Metrics;
use holdfast::secret::SecretBytes;
use tokio::runtime::Runtime;

use super::faults::Calls;
use super::site::{Setup, Site};
use super::starter::Starter;

pub const FOLDER: &str = "WRAPPED_KEYS_FOLDER";
const DONE: &str = "story-done";
const PATIENCE: Duration = Duration::from_secs(10);
/// RSA keys of 4096 bits take their time, on a busy machine even more.
const GENERATION: Duration = Duration::from_secs(60);

/// The HSMs of a site as the KMS API uses them.
pub struct Keys {
    pub folder: PathBuf,
    modules: Vec<Arc<Module>>,
    pub runtime: Runtime,
    pub hsms: Vec<Arc<Hsm>>,
    pub group: Arc<WrappedKeyGroup>,
    pub metrics: Arc<Metrics>,
}

/// Runs the story of the test of this name in a child process.
#[track_caller]
pub fn story(test: &str, prepare: impl FnOnce() -> Site, story: impl FnOnce(&Keys)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let keys = Keys::start(folder.into());
        story(&keys);
        // SoftHSM does not survive calls while the process ends.
        keys.inject("");
        keys.modules.iter().for_each(|module| module.finalize());
        std::fs::write(keys.folder.join(DONE), "").unwrap();
        return;
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

/// A site with this many sessions and room for so many unwrapped keys.
pub fn site(sessions: usize, cached_keys_max: usize) -> Site {
    let hsm = format!("sessions = {sessions}\ncached_keys_max = {cached_keys_max}");
    Site::prepare(&Setup { hsm, ..Setup::quiet(sessions) })
}

pub fn deadline() -> Instant {
    SystemClock.instant() + PATIENCE
}

fn patient() -> Instant {
    SystemClock.instant() + GENERATION
}

impl Keys {
    fn start(folder: PathBuf) -> Self {
        let config = Config::load(&folder.join("holdfast.toml")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut starter = Starter::new(&runtime, &metrics, &clock);
        let hsms: Vec<_> = config.hsms.iter().map(|hsm| starter.start(&config, hsm)).collect();
        let modules = starter.modules;
        let group = Arc::new(WrappedKeyGroup::new(hsms.clone(), clock));
        let keys = Self { folder, modules, runtime, hsms, group, metrics };
        keys.probe();
        keys
    }

    pub fn probe(&self) {
        self.hsms.iter().for_each(|hsm| self.runtime.block_on(hsm.probe(PATIENCE)));
    }

    pub fn open(&self, id: Option<RootKeyId>) -> Result<RootKeyId, HsmError> {
        self.runtime.block_on(self.group.open_root_key(id, deadline())).result
    }

    /// With a root key, the first.
    #[track_caller]
    pub fn opened(&self) -> RootKeyId {
        self.open(None).unwrap()
    }

    #[track_caller]
    pub fn key(&self, number: u16) -> BackingKey {
        let order = aes(number);
        let made = self.runtime.block_on(self.group.generate(order, deadline())).result;
        BackingKey { id: order.id, kind: order.kind, kept: Arc::new(made.unwrap().kept) }
    }

    /// A fresh key of this kind.
    pub fn try_made(&self, kind: KeyKind) -> Result<(BackingKey, Option<Vec<u8>>), HsmError> {
        let order = KeyOrder { id: random_id(), kind };
        let made = self.runtime.block_on(self.group.generate(order, patient())).result?;
        Ok((BackingKey { id: order.id, kind, kept: Arc::new(made.kept) }, made.public_key))
    }

    #[track_caller]
    pub fn key_of(&self, kind: KeyKind) -> BackingKey {
        self.try_made(kind).unwrap().0
    }

    /// A key pair, and its public key.
    #[track_caller]
    pub fn pair(&self, kind: KeyKind) -> (BackingKey, Vec<u8>) {
        let (key, public_key) = self.try_made(kind).unwrap_or_else(|error| panic!("{}: {error}", kind.spec));
        (key, public_key.unwrap())
    }

    pub fn compute(&self, key: &BackingKey, computation: Computation) -> Result<Vec<u8>, HsmError> {
        let request = ComputeUnder { key: key.clone(), computation };
        let done = self.runtime.block_on(self.group.compute(request, deadline()));
        done.result.map(|bytes| bytes.expose().to_vec())
    }

    #[track_caller]
    pub fn wrapping_key(&self, spec: WrappingKeySpec) -> WrappingKey {
        self.runtime.block_on(self.group.generate_wrapping_key(spec, patient())).result.unwrap()
    }

    #[track_caller]
    pub fn key_pair(&self, spec: KeySpec) -> KeyPair {
        self.runtime.block_on(self.group.generate_key_pair(spec, patient())).result.unwrap()
    }

    /// Imports material that is wrapped by this key.
    pub fn import(
        &self,
        kind: KeyKind,
        (wrapping_key, wrapping_key_spec): (&WrappingKey, WrappingKeySpec),
        algorithm: WrappingAlgorithm,
        encrypted: Vec<u8>,
    ) -> Result<(BackingKey, ImportedKey), HsmError> {
        let order = KeyOrder { id: random_id(), kind };
        let wrapping_key = wrapping_key.private_key.clone();
        let request = ToImport { wrapping_key, wrapping_key_spec, algorithm, encrypted, order };
        let imported = self.runtime.block_on(self.group.import(request, deadline())).result?;
        let kept = Arc::new(imported.made.kept.clone());
        Ok((BackingKey { id: order.id, kind, kept }, imported))
    }

    #[track_caller]
    pub fn destroy(&self, key: &BackingKey) {
        self.runtime.block_on(self.group.destroy(key.clone(), deadline())).result.unwrap();
    }

    /// The same HSMs, with a software provider.
    pub fn with_software(&self, specs: &[KeySpec]) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self {
            folder: self.folder.clone(),
            modules: self.modules.clone(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            hsms: self.hsms.clone(),
            group: Arc::new(WrappedKeyGroup::new(self.hsms.clone(), clock).with_software(specs)),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// The next use unwraps it again.
    pub fn forget(&self, key: &BackingKey) {
        self.group.forget(&key.id);
    }

    pub fn try_encrypt(&self, key: &BackingKey, aad: &[u8]) -> Result<Encrypted, HsmError> {
        self.runtime.block_on(self.group.encrypt(to_encrypt(key, aad), deadline())).result
    }

    #[track_caller]
    pub fn encrypt(&self, key: &BackingKey, aad: &[u8]) -> Encrypted {
        self.try_encrypt(key, aad).unwrap()
    }

    pub fn decrypt(&self, key: &BackingKey, encrypted: &Encrypted, aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        let done = self.runtime.block_on(self.group.decrypt(to_decrypt(key, encrypted, aad), deadline()));
        done.result.map(|plaintext| plaintext.expose().to_vec())
    }

    #[track_caller]
    pub fn assert_works(&self, key: &BackingKey) {
        let encrypted = self.encrypt(key, b"context");
        assert_eq!(self.decrypt(key, &encrypted, b"context").unwrap(), PLAINTEXT);
    }

    /// These faults happen from the next call on, and no others.
    pub fn inject(&self, lines: &str) {
        std::fs::write(self.folder.join("faults.new"), lines).unwrap();
        std::fs::rename(self.folder.join("faults.new"), self.folder.join("faults")).unwrap();
    }

    pub fn calls(&self) -> Calls {
        let text = std::fs::read_to_string(self.folder.join("counts")).unwrap();
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
            })
            .collect()
    }

    /// The calls made while `act` runs.
    pub fn calls_during(&self, act: impl FnOnce()) -> Calls {
        let before = self.calls();
        act();
        let mut after = self.calls();
        after.retain(|function, count| {
            *count -= before[function];
            *count > 0
        });
        after
    }

    /// The value of a metric of the first HSM.
    pub fn metric(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let series = format!("holdfast_{name}{{hsm=\"softhsm\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = SystemClock.instant();
        while !condition() {
            assert!(SystemClock.instant() - started < PATIENCE, "{what} did not come about");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

pub const PLAINTEXT: &[u8] = b"Hello World!";

/// A symmetric encryption key of this number.
pub fn aes(number: u16) -> KeyOrder {
    let mut id = [0; MATERIAL_ID_BYTES];
    id[..2].copy_from_slice(&number.to_be_bytes());
    KeyOrder { id: MaterialId::new(id), kind: KeyKind::SYMMETRIC }
}

fn random_id() -> MaterialId {
    let mut id = [0; MATERIAL_ID_BYTES];
    aws_lc_rs::rand::fill(&mut id).unwrap();
    MaterialId::new(id)
}

pub fn to_encrypt(key: &BackingKey, aad: &[u8]) -> EncryptUnder {
    EncryptUnder { key: key.clone(), plaintext: SecretBytes::new(PLAINTEXT.to_vec()), aad: aad.to_vec() }
}

pub fn to_decrypt(key: &BackingKey, encrypted: &Encrypted, aad: &[u8]) -> DecryptUnder {
    DecryptUnder {
        key: key.clone(),
        iv: encrypted.iv.clone(),
        ciphertext_and_tag: [encrypted.ciphertext.as_slice(), &encrypted.tag].concat(),
        aad: aad.to_vec(),
    }
}
