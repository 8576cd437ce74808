//! Builds the parts of the daemon from a configuration and joins them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use crate::admin::Development;
use crate::app::counters::ListenerCounters;
use crate::app::kms::{KmsFace, Surroundings};
use crate::app::preflight::out_of_time;
use crate::app::{Bound, StartError, start_error};
use crate::authorizer::Authorizer;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Isolation};
use crate::gate::KeyStore;
use crate::http::{Listener, Settings, TlsFiles, TlsSettings, TlsSwitch};
use crate::identity::Credentials;
use crate::key_manager::pkcs11::{
    ClusterParts, Hsm, HsmCluster, HsmClusters, HsmGroup, HsmParts, IsolatedHsmParts, LogLine, Module,
    Processes,
};
use crate::kill_switch::KillSwitch;
use crate::logging::LogSink;
use crate::metrics::Metrics;
use crate::secret::SecretBytes;
use crate::tasks::invocations;
use crate::xks::{KeyStores, Server, ServerParts, StoreParts, StoreWithAccess};

/// What exists before the configuration is looked at.
pub(super) struct Parts {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

impl Parts {
    pub(super) fn new() -> Result<Self, StartError> {
        Ok(Self { clock: Arc::new(SystemClock), metrics: Arc::new(Metrics::new().map_err(start_error)?) })
    }
}

/// The running daemon.
pub struct App {
    pub(super) config: ArcSwap<Config>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) hsms: BTreeMap<String, Arc<Hsm>>,
    cluster_members: Vec<Arc<Hsm>>,
    pub(super) pins: parking_lot::Mutex<HashMap<String, SecretBytes>>,
    pub(super) modules: Vec<Arc<Module>>,
    pub(super) kill_switch: Arc<KillSwitch>,
    pub(super) server: Arc<Server>,
    kms: Option<Arc<KmsFace>>,
    pub(super) tls: BTreeMap<String, Arc<TlsSwitch>>,
    /// One reload at a time.
    pub(super) reloading: tokio::sync::Mutex<()>,
    is_stopping: AtomicBool,
}

impl App {
    pub(super) async fn build(config: Config, parts: Parts, sink: LogSink) -> Result<Self, StartError> {
        let Parts { clock, metrics } = parts;
        let kill_switch = Arc::new(KillSwitch::open(&config.state_dir).map_err(start_error)?);
        let tls = load_tls(&config, &clock).map_err(StartError)?;
        let mut starter = Starter::new(&config, (&clock, &metrics), worker_log(sink.clone()))?;
        let (hsms, pins) = starter.start_hsms(&config)?;
        let clusters = starter.start_clusters(&config)?;
        let cluster_members = clusters.members().cloned().collect();
        let modules = starter.modules;
        let server_parts = ServerParts {
            limits: config.limits.clone(),
            fleet_size: config.health.fleet_size,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            request_log: config.log.requests.then(|| sink.clone()),
        };
        let surroundings = Surroundings {
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            request_log: server_parts.request_log.clone(),
            clusters: Arc::new(clusters),
            hedging: config.hedging.clone(),
            output: sink,
        };
        let kms = match &config.kms {
            Some(kms) => {
                let members = kms.hsms.iter().filter_map(|name| hsms.get(name)).cloned().collect();
                Some(Arc::new(KmsFace::build(&config, kms, members, surroundings).await?))
            }
            None => None,
        };
        let app = Self {
            kms,
            server: Arc::new(Server::new(server_parts, KeyStores::new())),
            config: ArcSwap::from_pointee(config),
            clock,
            metrics,
            cluster_members,
            hsms,
            pins: parking_lot::Mutex::new(pins),
            modules,
            kill_switch,
            tls: tls.into_iter().map(|(name, settings)| (name, Arc::new(TlsSwitch::new(settings)))).collect(),
            reloading: tokio::sync::Mutex::new(()),
            is_stopping: AtomicBool::new(false),
        };
        let config = app.config.load_full();
        app.server.set_key_stores(app.key_stores(&config).map_err(StartError)?);
        app.publish_configuration(&config);
        config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(app)
    }

    /// The key stores of a configuration, over the HSMs that run.
    pub(super) fn key_stores(&self, config: &Config) -> Result<KeyStores, String> {
        let before = self.server.key_stores();
        let mut key_stores = KeyStores::new();
        for store in &config.key_stores {
            let members = store.hsms.iter().filter_map(|name| self.hsms.get(name)).cloned().collect();
            let parts = StoreParts {
                key_store: KeyStore {
                    name: store.name.clone(),
                    key_manager: Arc::new(HsmGroup::new(
                        &store.name,
                        members,
                        &config.hedging,
                        Arc::clone(&self.clock),
                    )),
                    keys: store.keys.clone(),
                    authorizer: authorizer(store)?,
                    kill_switch: Arc::clone(&self.kill_switch),
                },
                credentials: Credentials::new(&store.credentials, &store.regions),
                requests_per_second: store.requests_per_second.and_then(NonZeroU32::new),
            };
            let before = before.get(&store.uri_path_prefix).map(AsRef::as_ref);
            let with_access = StoreWithAccess::new(parts, &self.metrics, before);
            key_stores.insert(store.uri_path_prefix.clone(), Arc::new(with_access));
        }
        Ok(key_stores)
    }

    pub(super) fn bind(&self) -> Result<Bound, StartError> {
        let config = self.config.load();
        let settings = |name: &str, listen, tls: Option<&Arc<TlsSwitch>>| Settings {
            name: name.to_owned(),
            listen,
            tls: tls.cloned(),
            limits: config.limits.clone(),
            counters: Arc::new(ListenerCounters::new(&self.metrics, name)),
            clock: Arc::clone(&self.clock),
        };
        let xks: Result<Vec<_>, _> = config
            .listeners
            .iter()
            .map(|listener| {
                Listener::bind(settings(&listener.name, listener.listen, self.tls.get(&listener.name)))
            })
            .collect();
        let admin = Listener::bind(settings("admin", config.admin.listen, None)).map_err(start_error)?;
        let probe = config.admin.probe_listen.map(|listen| Listener::bind(settings("probe", listen, None)));
        let metrics =
            config.admin.metrics_listen.map(|listen| Listener::bind(settings("metrics", listen, None)));
        let kms = config.kms.iter().flat_map(|kms| {
            let tls = kms
                .tls_listeners
                .iter()
                .map(|listener| settings(&listener.name, listener.listen, self.tls.get(&listener.name)));
            let http =
                kms.http_listeners.iter().map(|listener| settings(&listener.name, listener.listen, None));
            tls.chain(http).map(Listener::bind).collect::<Vec<_>>()
        });
        let kms = kms.collect::<Result<Vec<_>, _>>().map_err(start_error)?;
        Ok(Bound {
            kms,
            xks: xks.map_err(start_error)?,
            admin,
            probe: probe.transpose().map_err(start_error)?,
            metrics: metrics.transpose().map_err(start_error)?,
        })
    }

    pub(super) fn hsms(&self) -> Vec<Arc<Hsm>> {
        self.hsms.values().cloned().collect()
    }

    /// Those of the clusters too.
    pub(super) fn all_hsms(&self) -> Vec<Arc<Hsm>> {
        self.hsms.values().chain(&self.cluster_members).cloned().collect()
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    pub(super) fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    pub(super) fn kms(&self) -> Option<Arc<KmsFace>> {
        self.kms.clone()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(super) fn development(&self) -> Option<Arc<dyn Development>> {
        self.kms.as_ref().and_then(KmsFace::development)
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.config.load().state_dir.clone()
    }

    pub(super) fn health_settings(&self) -> config::Health {
        self.config.load().health.clone()
    }

    pub(super) fn watched_files(&self) -> Vec<PathBuf> {
        let mut files = self.config.load().watched_files();
        files.extend(self.kms.iter().flat_map(|face| face.declared_files()));
        files
    }

    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        addresses(&self.config.load())
    }

    pub(super) fn set_stopping(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Finalizes the libraries, in threads of their own: one that hangs is left behind. Whether none does. Worker
    /// processes are ended, whether they hang or not.
    pub(super) fn release_modules(&self, patience: Duration) -> bool {
        let (released, waiting) = std::sync::mpsc::channel();
        let isolated: Vec<_> = self.all_hsms().into_iter().filter(|hsm| hsm.is_isolated()).collect();
        for hsm in isolated.clone() {
            let released = released.clone();
            std::thread::spawn(move || {
                if hsm.stop(patience) {
                    let _ = released.send(());
                }
            });
        }
        for module in &self.modules {
            let (module, released) = (Arc::clone(module), released.clone());
            std::thread::spawn(move || {
                module.finalize();
                let _ = released.send(());
            });
        }
        let deadline = self.clock.instant() + patience;
        (0..self.modules.len() + isolated.len())
            .all(|_| waiting.recv_timeout(deadline.saturating_duration_since(self.clock.instant())).is_ok())
    }

    /// Gauges that say what is configured.
    pub(super) fn publish_configuration(&self, config: &Config) {
        let metrics = &self.metrics;
        metrics.credential_created_timestamp_seconds.reset();
        for store in &config.key_stores {
            for credential in &store.credentials {
                metrics
                    .credential_created_timestamp_seconds
                    .with_label_values(&[store.name.as_str(), credential.access_key_id.as_str()])
                    .set(i64::try_from(credential.created_unix_seconds).unwrap_or(i64::MAX));
            }
        }
        metrics.alarms.xks_key_store_quota.reset();
        for store in &config.key_stores {
            if let Some(rate) = store.requests_per_second {
                let quota = metrics.alarms.xks_key_store_quota.with_label_values(&[store.name.as_str()]);
                quota.set(rate.into());
            }
        }
        for (name, tls) in &self.tls {
            if let Some(reason) = out_of_time(tls.current().certificate(), self.clock.unix_seconds()) {
                tracing::error!(listener = name, "{reason}");
            }
            metrics
                .certificate_not_after_timestamp_seconds
                .with_label_values(&[name.as_str()])
                .set(i64::try_from(tls.current().certificate().not_after_unix_seconds).unwrap_or(i64::MAX));
        }
        metrics.config_last_reload_successful.set(1);
        let now = i64::try_from(self.clock.unix_seconds()).unwrap_or(i64::MAX);
        metrics.config_last_reload_timestamp_seconds.set(now);
        self.publish_blocks(config);
    }

    pub(super) fn publish_blocks(&self, config: &Config) {
        // A key store that a reload removed has no gauge any more.
        self.metrics.key_store_blocked.reset();
        for store in &config.key_stores {
            let blocked = self.kill_switch.is_key_store_blocked(&store.name);
            self.metrics.key_store_blocked.with_label_values(&[store.name.as_str()]).set(i64::from(blocked));
        }
    }
}

fn addresses(config: &Config) -> Vec<(String, SocketAddr)> {
    let tls = config.tls_listeners().map(|listener| (listener.name.clone(), listener.listen));
    let http = config.kms.iter().flat_map(|kms| &kms.http_listeners);
    let http = http.map(|listener| (listener.name.clone(), listener.listen));
    tls.chain(http).chain([("admin".to_owned(), config.admin.listen)]).collect()
}

/// A port that is taken is told before anything is made or started. They are bound for good when there is somebody to
/// answer, or clients would connect and wait.
pub(super) fn check_ports(config: &Config) -> Result<(), StartError> {
    for (name, listen) in addresses(config) {
        Listener::check(&name, listen).map_err(start_error)?;
    }
    for (name, listen) in [("probe", config.admin.probe_listen), ("metrics", config.admin.metrics_listen)] {
        listen.map_or(Ok(()), |listen| Listener::check(name, listen)).map_err(start_error)?;
    }
    Ok(())
}

/// Loads each library once and starts the threads of each HSM.
pub(super) struct Starter<'a> {
    config: &'a Config,
    clock: &'a Arc<dyn Clock>,
    metrics: &'a Metrics,
    processes: Arc<Processes>,
    modules: Vec<Arc<Module>>,
    /// Encryptions counted in earlier runs, by HSM.
    counts: HashMap<String, HashMap<String, u64>>,
}

impl<'a> Starter<'a> {
    pub(super) fn new(
        config: &'a Config,
        (clock, metrics): (&'a Arc<dyn Clock>, &'a Metrics),
        log: LogLine,
    ) -> Result<Self, StartError> {
        let counts = invocations::read(&config.state_dir).map_err(start_error)?;
        let processes = Processes::new(Handle::current(), log, &config.log.filter, None);
        let processes = processes.map_err(start_error)?;
        Ok(Self { config, clock, metrics, processes, modules: Vec::new(), counts })
    }

    fn module(&mut self, hsm: &config::Hsm) -> Result<Arc<Module>, StartError> {
        let module = match self.modules.iter().find(|module| module.is_at(&hsm.module)) {
            Some(module) => Arc::clone(module),
            None => {
                let module = Module::load(&hsm.module).map_err(StartError)?;
                let module = Arc::new(module.with_parameters(hsm.initialize_parameters.as_deref()));
                // Without its HSM a library may not start; the probes go on trying.
                if let Err(reason) = module.initialize() {
                    tracing::error!(hsm = %hsm.name, reason, "{reason}");
                }
                self.modules.push(Arc::clone(&module));
                module
            }
        };
        Ok(module)
    }

    fn start(&mut self, hsm: &config::Hsm, pin: Option<SecretBytes>) -> Result<Arc<Hsm>, StartError> {
        if hsm.isolation == Isolation::Process {
            return self.start_isolated(hsm);
        }
        let parts = HsmParts {
            config: hsm.clone(),
            pin,
            module: self.module(hsm)?,
            metrics: self.metrics.hsm(&hsm.name),
            clock: Arc::clone(self.clock),
            invocations: self.counts.remove(&hsm.name).unwrap_or_default(),
        };
        Hsm::start(parts).map_err(start_error)
    }

    fn start_isolated(&mut self, hsm: &config::Hsm) -> Result<Arc<Hsm>, StartError> {
        // What the worker process would refuse later is an error now.
        hsm.pin_version().map(drop).map_err(start_error)?;
        let environment = self.config.environment_of(hsm);
        let parts = IsolatedHsmParts {
            config: config::Hsm { environment, ..hsm.clone() },
            processes: Arc::clone(&self.processes),
            metrics: self.metrics.hsm(&hsm.name),
            clock: Arc::clone(self.clock),
            invocations: self.counts.remove(&hsm.name).unwrap_or_default(),
        };
        Hsm::start_isolated(parts).map_err(start_error)
    }

    /// The HSMs of the key stores, and the PINs that their files have now; those that a worker process reads are not
    /// among them.
    pub(super) fn start_hsms(&mut self, config: &Config) -> Result<StartedHsms, StartError> {
        let (mut hsms, mut pins) = (BTreeMap::new(), HashMap::new());
        for hsm in &config.hsms {
            let pin = match hsm.isolation {
                Isolation::Process => None,
                Isolation::Thread => hsm.read_pin().map_err(start_error)?,
            };
            pins.extend(pin.clone().map(|pin| (hsm.name.clone(), pin)));
            hsms.insert(hsm.name.clone(), self.start(hsm, pin)?);
        }
        Ok((hsms, pins))
    }

    /// Nobody logs in to them before a key store is connected.
    fn start_clusters(&mut self, config: &Config) -> Result<HsmClusters, StartError> {
        let mut clusters = Vec::new();
        for cluster in &config.clusters {
            let members: Result<Vec<_>, _> =
                cluster.members.iter().map(|member| self.start(member, None)).collect();
            clusters.push(HsmCluster::new(ClusterParts {
                id: cluster.id.clone(),
                trust_anchor: cluster.trust_anchor.clone(),
                crypto_user: cluster.crypto_user.clone(),
                members: members?,
                hedging: config.hedging.clone(),
                clock: Arc::clone(self.clock),
            }));
        }
        Ok(HsmClusters::new(clusters))
    }
}

/// Lines of worker processes are in the format of the log already. What is none is not written.
pub(super) fn worker_log(log: LogSink) -> LogLine {
    Arc::new(move |line| {
        if serde_json::from_slice::<BTreeMap<String, &RawValue>>(line).is_ok() {
            log.write_line(&[line, b"\n"].concat());
        }
    })
}

type StartedHsms = (BTreeMap<String, Arc<Hsm>>, HashMap<String, SecretBytes>);

pub(super) fn load_tls(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<(String, TlsSettings)>, String> {
    let (mut loaded, mut problems) = (Vec::new(), Vec::new());
    for listener in config.tls_listeners() {
        match load_listener(listener, clock) {
            Ok(settings) => loaded.push((listener.name.clone(), settings)),
            Err(reason) => problems.push(reason),
        }
    }
    if problems.is_empty() { Ok(loaded) } else { Err(problems.join("\n")) }
}

pub(super) fn load_listener(
    listener: &config::TlsListener,
    clock: &Arc<dyn Clock>,
) -> Result<TlsSettings, String> {
    TlsSettings::load(&TlsFiles::from(listener), Arc::clone(clock))
        .map_err(|error| format!("listener `{}`: {error}", listener.name))
}

pub(super) fn authorizer(store: &config::KeyStore) -> Result<Authorizer, String> {
    let Some(policy) = &store.policy else { return Ok(Authorizer::default()) };
    let file = store.policy_file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    Authorizer::parse(policy).map_err(|reason| format!("key store `{}`, policy {file}: {reason}", store.name))
}
