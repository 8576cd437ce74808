//! An HSM whose library is in a worker process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config;
use crate::key_manager::pkcs11::engine::Shared;
use crate::key_manager::pkcs11::hsm::Hsm;
use crate::key_manager::pkcs11::process::processes::Processes;
use crate::key_manager::pkcs11::process::worker_process::WorkerProcess;
use crate::metrics::HsmMetrics;

/// What is needed to start one.
pub struct IsolatedHsmParts {
    pub config: config::Hsm,
    pub processes: Arc<Processes>,
    pub metrics: HsmMetrics,
    pub clock: Arc<dyn Clock>,
    pub invocations: HashMap<String, u64>,
}

impl Hsm {
    /// Starts the worker process.
    pub fn start_isolated(parts: IsolatedHsmParts) -> std::io::Result<Arc<Self>> {
        let IsolatedHsmParts { config, processes, metrics, clock, invocations } = parts;
        let shared = Shared::new(config, (metrics, clock), invocations);
        let engine = WorkerProcess::start(Arc::clone(&shared), processes)?;
        Ok(Self::over(shared, Box::new(engine)))
    }

    /// Its worker process reads the file of its PIN itself.
    pub fn pin_file_changed(&self) {
        self.engine().pin_file_changed();
    }

    /// Whether its library is in a worker process.
    pub fn is_isolated(&self) -> bool {
        self.engine().library().is_none()
    }

    /// Ends its worker process, if it has one; whether that was done within this time.
    pub fn stop(&self, patience: Duration) -> bool {
        self.engine().stop(patience)
    }
}
