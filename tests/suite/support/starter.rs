//! HSMs without a daemon, their libraries here or in worker processes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use holdfast::clock::Clock;
use holdfast::config::{self, Config, Isolation};
use holdfast::key_manager::pkcs11::{Hsm, HsmParts, IsolatedHsmParts, Module, Processes};
use holdfast::metrics::Metrics;
use tokio::runtime::Runtime;

pub struct Starter {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    processes: Arc<Processes>,
    /// Those that are in this process.
    pub modules: Vec<Arc<Module>>,
}

impl Starter {
    pub fn new(runtime: &Runtime, metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>) -> Self {
        let program = Some(env!("CARGO_BIN_EXE_holdfast").into());
        let processes = Processes::new(runtime.handle().clone(), Arc::new(|_| {}), "off", program).unwrap();
        Self { metrics: Arc::clone(metrics), clock: Arc::clone(clock), processes, modules: Vec::new() }
    }

    pub fn start(&mut self, all: &Config, hsm: &config::Hsm) -> Arc<Hsm> {
        let config = config::Hsm { environment: all.environment_of(hsm), ..hsm.clone() };
        let (metrics, clock) = (self.metrics.hsm(&hsm.name), Arc::clone(&self.clock));
        let invocations = HashMap::new();
        match hsm.isolation {
            Isolation::Process => {
                let processes = Arc::clone(&self.processes);
                let parts = IsolatedHsmParts { config, processes, metrics, clock, invocations };
                Hsm::start_isolated(parts).unwrap()
            }
            Isolation::Thread => {
                let (pin, module) = (hsm.read_pin().unwrap(), self.load(&hsm.module));
                Hsm::start(HsmParts { config, pin, module, metrics, clock, invocations }).unwrap()
            }
        }
    }

    fn load(&mut self, path: &Path) -> Arc<Module> {
        if let Some(module) = self.modules.iter().find(|module| module.is_at(path)) {
            return Arc::clone(module);
        }
        let module = Arc::new(Module::load(path).unwrap());
        module.initialize().unwrap();
        self.modules.push(Arc::clone(&module));
        module
    }
}
