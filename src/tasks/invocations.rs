//! Counts of GCM encryptions a key: kept over restarts, and shown as metrics.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use crate::key_manager::external_key::GCM_INVOCATIONS_MAX;
use crate::key_manager::pkcs11::Hsm;

const FILE_NAME: &str = "invocations.json";
/// What a crash can lose; far below the margin that the warning leaves.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);
/// Where the log starts to warn.
const WARN_AT: u64 = GCM_INVOCATIONS_MAX / 4 * 3;

/// HSM name → key version → encryptions.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// The counts of an earlier run. A file that cannot be read is an error: starting from zero would forget how
/// much of the budget is spent.
pub fn read(state_dir: &Path) -> io::Result<HashMap<String, HashMap<String, u64>>> {
    let path = state_dir.join(FILE_NAME);
    let counts: Counts = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Counts::new(),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    };
    Ok(counts.into_iter().map(|(hsm, counts)| (hsm, counts.into_iter().collect())).collect())
}

/// Writes the counts down now and then.
pub struct InvocationLedger {
    path: PathBuf,
    hsms: Vec<Arc<Hsm>>,
    written: Counts,
}

impl InvocationLedger {
    pub fn new(state_dir: &Path, hsms: Vec<Arc<Hsm>>) -> Self {
        Self { path: state_dir.join(FILE_NAME), hsms, written: Counts::new() }
    }

    /// Writes until it is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(WRITE_INTERVAL).await;
            self = match tokio::task::spawn_blocking(move || {
                self.write();
                self
            })
            .await
            {
                Ok(ledger) => ledger,
                Err(_) => return,
            };
        }
    }

    /// Writes the counts if they changed. A disk that is full costs counts, not requests.
    pub fn write(&mut self) {
        let counts = self.counts();
        if counts == self.written {
            return;
        }
        match write_file(&self.path, &counts) {
            Ok(()) => self.written = counts,
            Err(error) => {
                tracing::error!(reason = %error, "cannot write {}: {error}", self.path.display());
            }
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for hsm in &self.hsms {
            let of_hsm = counts.entry(hsm.name().to_string()).or_default();
            // What is not in the token now is still counted, should it come back.
            of_hsm.extend(hsm.unclaimed_invocations());
            for object in hsm.inventory().objects().filter(|object| object.invocations() > 0) {
                of_hsm.insert(object.name.ledger_name(), object.invocations());
                if object.invocations() >= WARN_AT {
                    let (hsm, key) = (hsm.name(), object.name.ledger_name());
                    tracing::error!(%hsm, key.id = %key, "key `{key}` has used three quarters of its 2^32 encryptions: rotate it");
                }
            }
        }
        counts
    }
}

fn write_file(path: &Path, counts: &Counts) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, counts)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// `holdfast_key_gcm_invocations_total`, read from the keys when it is scraped.
pub struct InvocationCollector {
    hsms: Vec<Arc<Hsm>>,
    description: IntCounterVec,
}

impl InvocationCollector {
    pub fn new(hsms: Vec<Arc<Hsm>>) -> prometheus::Result<Self> {
        Ok(Self { hsms, description: empty()? })
    }
}

fn empty() -> prometheus::Result<IntCounterVec> {
    let help = "Encryptions made with a key version; NIST SP 800-38D allows 2^32 with random IVs.";
    IntCounterVec::new(
        Opts::new("key_gcm_invocations_total", help).namespace("holdfast"),
        &["hsm", "external_key_id", "version"],
    )
}

impl Collector for InvocationCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.description.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(counters) = empty() else { return Vec::new() };
        for hsm in &self.hsms {
            for key in hsm.inventory().keys() {
                for version in key.versions().iter().filter(|version| version.object.invocations() > 0) {
                    let number = version.number().to_string();
                    counters
                        .with_label_values(&[hsm.name(), key.id.as_str(), number.as_str()])
                        .inc_by(version.object.invocations());
                }
            }
        }
        counters.collect()
    }
}
