//! The composition root: builds everything from the configuration, starts it, and stops it in order.

mod administration;
mod attestation;
mod build;
mod counters;
mod declared_change;
mod kms;
mod preflight;
pub mod process;
mod reload;
mod rewrapping;
mod root_keys;
mod service_manager;
mod simulation;
mod trail;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::admin::{MetricsRoutes, ProbeRoutes, Readiness, Routes, control};
use crate::app::build::Parts;
use crate::app::kms::KmsFace;
use crate::app::service_manager::{ServiceManager, show_life};
use crate::config::Config;
use crate::http::{Drained, Listener};
use crate::key_manager::{HealthState, MemberHealth};
use crate::logging::{self, LogSink};
use crate::tasks::disk_space;
use crate::tasks::file_watch::FileWatch;
use crate::tasks::invocations::{InvocationCollector, InvocationLedger};
use crate::tasks::kms_due_work;
use crate::tasks::kms_events;
use crate::tasks::kms_key_stores;
use crate::tasks::probes;
use crate::traces;

pub use build::App;
pub use preflight::{check, warnings};
pub use root_keys::{RootKeyAnswer, RootKeyRequest, RootKeysInHsm, ShownRootKey, find_root_keys};

/// Files of ours besides connections: tokens, state, configuration, sockets.
const OPEN_FILES_OF_OURS: usize = 256;
const NO_KMS: &str = "this daemon does not serve the KMS API: its configuration has no `[kms]`";
/// Between two tries to open the root key.
const ROOT_KEY_INTERVAL: Duration = Duration::from_secs(1);
/// What stopping costs besides `shutdown_timeout`.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// Why the daemon did not start.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

fn start_error(reason: impl fmt::Display) -> StartError {
    StartError(reason.to_string())
}

/// Runs the daemon until SIGINT or SIGTERM.
pub fn run(config: Config) -> Result<(), StartError> {
    let parts = Parts::new()?;
    let (sink, log_guard) = LogSink::start(std::io::stdout(), parts.metrics.log_lines_dropped_total.clone())
        .map_err(start_error)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start_error)?;
    let traces = config.traces.as_ref();
    let traces = traces.map(|traces| traces::start(traces, &parts.metrics.traces, runtime.handle()));
    let (span_layer, traces_guard) = traces.transpose().map_err(StartError)?.unzip();
    logging::subscribe(sink.clone(), &config.log.filter, span_layer).map_err(StartError)?;
    let shutdown_timeout = config.limits.shutdown_timeout;
    let result = runtime.block_on(serve(config, parts, sink));
    drop(traces_guard);
    // A thread that hangs in a PKCS#11 call must not keep the process alive.
    runtime.shutdown_timeout(STOP_MARGIN.min(shutdown_timeout));
    drop(log_guard);
    match result? {
        Ended::Cleanly => Ok(()),
        // The end of a process runs code of its libraries, and one of them hangs.
        Ended::LibraryHangs => signal_hook::low_level::exit(0),
    }
}

/// How the daemon ended.
enum Ended {
    Cleanly,
    LibraryHangs,
}

/// The file of our control socket, which goes when the daemon ends, and when it does not even start.
struct ControlFile(PathBuf);

impl Drop for ControlFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn serve(config: Config, parts: Parts, sink: LogSink) -> Result<Ended, StartError> {
    // Before anything is built from the files, or a change meanwhile would be missed; and a SIGHUP would end us.
    let changes = ConfigurationChanges::listen(&config).map_err(start_error)?;
    let listeners = config.listener_count() + 1;
    let open_files = config.limits.connections_max.saturating_mul(listeners) + OPEN_FILES_OF_OURS;
    process::raise_open_files(u64::try_from(open_files).unwrap_or(u64::MAX));
    let _lock = process::lock(&config.state_dir)
        .map_err(|error| start_error(format_args!("state_dir {}: {error}", config.state_dir.display())))?;
    let control_socket = control::bind(&config.admin.control_socket).map_err(|error| {
        start_error(format_args!("control socket {}: {error}", config.admin.control_socket.display()))
    })?;
    let control_file = ControlFile(config.admin.control_socket.clone());
    build::check_ports(&config)?;
    let app = Arc::new(App::build(config, parts, sink).await?);
    let bound = app.bind()?;
    let hsms = app.all_hsms();
    app.metrics()
        .register(Box::new(InvocationCollector::new(hsms.clone()).map_err(start_error)?))
        .map_err(start_error)?;

    let stop = Stop::default();
    let manager = Arc::new(ServiceManager::from_environment());
    let mut background = JoinSet::new();
    let settings = app.health_settings();
    // Before the first request is taken, every HSM has been asked once.
    for hsm in &hsms {
        hsm.probe(settings.probe_timeout).await;
    }
    start_kms(&app, &mut background).await;
    for hsm in hsms.clone() {
        background.spawn(probes::run(hsm, settings.clone()));
    }
    background.spawn(disk_space::watch(app.state_dir(), app.metrics()));
    background.spawn(InvocationLedger::new(&app.state_dir(), hsms.clone()).run());
    background.spawn(control::serve(control_socket, Arc::clone(&app)));
    background.spawn(watch_configuration(Arc::clone(&app), changes, Arc::clone(&manager)));
    background.spawn({
        let manager = Arc::clone(&manager);
        async move { show_life(&manager).await }
    });
    let (mut serving, mut telling) = bound.serve(&app, &stop);
    tracing::info!(listeners = ?app.addresses(), "serving");
    manager.ready();

    let signal = wait_for_stop().await.map_err(start_error)?;
    tracing::info!(signal, "stopping on {signal}: answering what is in flight");
    manager.stopping();
    app.set_stopping();
    let cut = stop.drain(&mut serving, &mut telling).await;
    background.shutdown().await;
    end_kms(&app, signal).await;
    InvocationLedger::new(&app.state_dir(), hsms).write();
    drop(control_file);
    let released = tokio::task::block_in_place(|| app.release_modules(STOP_MARGIN));
    tracing::info!(connections_cut = cut, "stopped");
    Ok(if released { Ended::Cleanly } else { Ended::LibraryHangs })
}

/// What the KMS API does without being asked.
async fn start_kms(app: &App, background: &mut JoinSet<()>) {
    let Some(face) = app.kms() else { return };
    let is_open = face.open_root_key().await;
    face.audit.sign_now(is_open).await;
    background.spawn(keep_kms_open(Arc::clone(&face)));
    background.spawn(keep_trail_signed(Arc::clone(&face)));
    background.spawn(rewrapping::run(Arc::clone(&face)));
    background.spawn(kms_due_work::run(Arc::clone(&face.kms), app.clock(), app.metrics()));
    background.spawn(kms_key_stores::run(Arc::clone(&face.kms), app.clock(), face.key_store_health_interval));
    background.spawn(kms_due_work::write_usage(Arc::clone(&face.kms)));
    if let Some((receiver, metrics)) = face.take_event_receiver() {
        background.spawn(kms_events::run(Arc::clone(&face.kms), receiver, metrics));
    }
}

/// Writes down what the KMS API did last.
async fn end_kms(app: &App, signal: &str) {
    let Some(face) = app.kms() else { return };
    kms_due_work::write_usage_now(&face.kms).await;
    face.audit.end(&format!("the daemon was stopped by {signal}")).await;
}

/// Opens the root key as soon as the HSM lets us.
async fn keep_kms_open(face: Arc<KmsFace>) {
    while !face.obstacles().is_empty() {
        tokio::time::sleep(ROOT_KEY_INTERVAL).await;
        face.open_root_key().await;
    }
}

/// A key for it is made only in the HSM that the root key is in.
async fn keep_trail_signed(face: Arc<KmsFace>) {
    face.audit.keep_signed(|| face.obstacles().is_empty()).await;
}

async fn wait_for_stop() -> std::io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

/// What can make the configuration another.
struct ConfigurationChanges {
    hangup: Signal,
    watch: Option<FileWatch>,
}

impl ConfigurationChanges {
    fn listen(config: &Config) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let watch = FileWatch::start(&config.watched_files())
            .inspect_err(|error| {
                tracing::warn!(reason = %error, "cannot watch files; use SIGHUP to reload: {error}");
            })
            .ok();
        Ok(Self { hangup, watch })
    }
}

/// Reloads on SIGHUP and when a file of the configuration changes.
async fn watch_configuration(app: Arc<App>, changes: ConfigurationChanges, manager: Arc<ServiceManager>) {
    let ConfigurationChanges { mut hangup, mut watch } = changes;
    loop {
        match &mut watch {
            Some(watch) => tokio::select! {
                _ = hangup.recv() => {}
                () = watch.changed() => {}
            },
            None => drop(hangup.recv().await),
        }
        // Before the files are read, so that no change falls between reading and watching; and again after it,
        // since other files may be named now.
        let rewatch = |watch: &mut Option<FileWatch>| {
            if let Some(watch) = watch {
                watch.watch(&app.watched_files());
            }
        };
        manager.reloading();
        rewatch(&mut watch);
        // Logged and counted where it happens.
        let _ = app.reload().await;
        rewatch(&mut watch);
        manager.ready();
    }
}

/// The sockets, bound before anything is served, so that a port in use is an error at the start.
struct Bound {
    xks: Vec<Listener>,
    kms: Vec<Listener>,
    admin: Listener,
    probe: Option<Listener>,
    metrics: Option<Listener>,
}

type Serving = Pin<Box<dyn Future<Output = Drained> + Send>>;

/// Stops the listeners for requests, and then those for probes.
struct Stop {
    requests: watch::Sender<bool>,
    probes: watch::Sender<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { requests: watch::Sender::new(false), probes: watch::Sender::new(false) }
    }
}

impl Stop {
    /// Answers what is in flight; how many connections were cut nevertheless.
    async fn drain(&self, serving: &mut JoinSet<Drained>, telling: &mut JoinSet<Drained>) -> usize {
        let _ = self.requests.send(true);
        let mut cut = 0;
        while let Some(drained) = serving.join_next().await {
            cut += drained.map_or(0, |drained| drained.cut);
        }
        // Last, so that whoever asks meanwhile is told that we are stopping.
        let _ = self.probes.send(true);
        while telling.join_next().await.is_some() {}
        cut
    }
}

impl Bound {
    /// Serves requests, and tells of metrics and health.
    fn serve(self, app: &Arc<App>, stop: &Stop) -> (JoinSet<Drained>, JoinSet<Drained>) {
        let (mut serving, mut telling) = (JoinSet::new(), JoinSet::new());
        for listener in self.xks {
            serving.spawn(Box::pin(listener.serve(app.server(), stop.requests.subscribe())) as Serving);
        }
        if let Some(face) = app.kms() {
            for listener in self.kms {
                let endpoint = Arc::clone(&face.endpoint);
                serving.spawn(Box::pin(listener.serve(endpoint, stop.requests.subscribe())) as Serving);
            }
        }
        if let Some(probe) = self.probe {
            let routes = Arc::new(ProbeRoutes { readiness: Arc::clone(app) });
            telling.spawn(Box::pin(probe.serve(routes, stop.probes.subscribe())) as Serving);
        }
        if let Some(metrics) = self.metrics {
            let routes = Arc::new(MetricsRoutes { metrics: app.metrics(), readiness: Arc::clone(app) });
            telling.spawn(Box::pin(metrics.serve(routes, stop.probes.subscribe())) as Serving);
        }
        let development = app.development();
        let routes = Arc::new(Routes { metrics: app.metrics(), readiness: Arc::clone(app), development });
        telling.spawn(Box::pin(self.admin.serve(routes, stop.probes.subscribe())) as Serving);
        (serving, telling)
    }
}

/// What is wrong with HSMs of which one would be enough; nothing if one serves.
fn outage(members: &[MemberHealth]) -> Vec<String> {
    if members.iter().any(|member| member.state != HealthState::Unavailable) {
        return Vec::new();
    }
    let reason = |member: &MemberHealth| member.reason.clone().unwrap_or_default();
    members.iter().map(|member| format!("HSM {}: {}", member.id, reason(member))).collect()
}

impl Readiness for App {
    fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        if self.is_stopping() {
            obstacles.push("stopping".to_owned());
        }
        // A key store serves as long as one of its HSMs does.
        for store in self.server().key_stores().values() {
            obstacles.extend(outage(&store.key_store().health()));
        }
        if let Some(face) = self.kms() {
            obstacles.extend(outage(&face.health()));
            obstacles.extend(face.obstacles());
        }
        obstacles.sort();
        obstacles.dedup();
        obstacles
    }

    fn publish(&self) {
        self.all_hsms().iter().for_each(|hsm| hsm.publish());
    }
}

impl control::Controlled for App {
    async fn take_up(&self, change: control::Change) -> Result<(), String> {
        match change {
            control::Change::Blocks => self.reload_blocks(),
            control::Change::Configuration => self.reload().await,
        }
    }

    async fn back_up(&self, to: PathBuf) -> Result<(), String> {
        match self.kms() {
            Some(face) => face.back_up(&to).await,
            None => Err(NO_KMS.to_owned()),
        }
    }

    async fn answer(
        &self,
        topic: control::Topic,
        request: Zeroizing<String>,
    ) -> Result<Zeroizing<String>, String> {
        let face = || self.kms().ok_or_else(|| NO_KMS.to_owned());
        match topic {
            control::Topic::Clusters => face()?.compare_clusters().await.map(Zeroizing::new),
            control::Topic::Identity => face()?.administer(&request).await,
            control::Topic::Keys => self.refresh_keys().await.map(Zeroizing::new),
            control::Topic::KillSwitch => self.find_blockable(&request).map(Zeroizing::new),
            control::Topic::RootKey => face()?.administer_root_keys(&request).await.map(Zeroizing::new),
            control::Topic::Simulation => face()?.simulate(&request).await.map(Zeroizing::new),
        }
    }
}
