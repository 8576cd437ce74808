//! One of the two HSMs, and what goes wrong with it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::daemon::Daemon;

pub struct Member {
    pub name: &'static str,
    root: PathBuf,
}

impl Member {
    pub fn new(name: &'static str, root: &Path) -> Self {
        Self { name, root: root.to_owned() }
    }

    /// These faults happen from the next call on, and no others. The lines are those of the shim.
    pub fn inject(&self, lines: &str) {
        let path = |suffix: &str| self.root.join(format!("{}{suffix}", self.name));
        fs::write(path(".faults.new"), lines).unwrap();
        fs::rename(path(".faults.new"), path(".faults")).unwrap();
    }

    pub fn heal(&self) {
        self.inject("");
    }

    /// The folder of its token is moved away, as an HSM that is switched off.
    pub fn switch_off(&self) {
        fs::rename(self.root.join("tokens").join(self.name), self.hidden()).unwrap();
    }

    pub fn switch_on(&self) {
        fs::rename(self.hidden(), self.root.join("tokens").join(self.name)).unwrap();
    }

    fn hidden(&self) -> PathBuf {
        self.root.join(format!("hidden-{}", self.name))
    }

    /// Its library, as it is mapped into whatever process has loaded it.
    pub fn library(&self) -> String {
        self.root.join(format!("{}.so", self.name)).display().to_string()
    }

    /// Requests that it has done the work for, those that failed included.
    pub fn operations(&self, daemon: &Daemon) -> f64 {
        let label = format!("hsm=\"{}\"", self.name);
        daemon.metric("holdfast_hsm_operation_duration_seconds_count", &[&label])
    }

    pub fn is_active(&self, daemon: &Daemon) -> bool {
        let label = format!("hsm=\"{}\"", self.name);
        daemon.metric("holdfast_hsm_state", &[&label, "state=\"ACTIVE\""]) > 0.5
    }
}
