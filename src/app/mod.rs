//! The composition root: builds everything from the configuration, starts it, and stops it in order.

mod build;
mod counters;
mod reload;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{ProbeRoutes, Readiness, Routes, control};
use crate::app::build::Parts;
use crate::config::Config;
use crate::http::{Drained, Listener};
use crate::key_manager::HealthState;
use crate::logging::{self, LogSink};
use crate::tasks::file_watch::FileWatch;
use crate::tasks::invocations::{InvocationCollector, InvocationLedger};
use crate::tasks::probes;

pub use build::App;

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
    forbid_core_dumps();
    // Sockets and state files are for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let parts = Parts::new()?;
    let (sink, _log_guard) = LogSink::start(std::io::stdout(), parts.metrics.log_lines_dropped_total.clone())
        .map_err(start_error)?;
    logging::subscribe(sink.clone(), &config.log.filter).map_err(StartError)?;
    let shutdown_timeout = config.limits.shutdown_timeout;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(start_error)?;
    let result = runtime.block_on(serve(config, parts, sink));
    // A thread that hangs in a PKCS#11 call must not keep the process alive.
    runtime.shutdown_timeout(STOP_MARGIN.min(shutdown_timeout));
    result
}

/// A core dump would hold PINs, credentials and plaintexts.
fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

async fn serve(config: Config, parts: Parts, sink: LogSink) -> Result<(), StartError> {
    // Before anything is built from the files, or a change meanwhile would be missed; and a SIGHUP would end us.
    let changes = ConfigurationChanges::listen(&config).map_err(start_error)?;
    let control_socket = control::bind(&config.admin.control_socket).map_err(|error| {
        start_error(format_args!("control socket {}: {error}", config.admin.control_socket.display()))
    })?;
    let control_path = config.admin.control_socket.clone();
    let app = Arc::new(App::build(config, parts, sink)?);
    let bound = app.bind()?;
    let hsms = app.hsms();
    app.metrics()
        .register(Box::new(InvocationCollector::new(hsms.clone()).map_err(start_error)?))
        .map_err(start_error)?;

    let (stop, stopped) = watch::channel(false);
    let mut background = JoinSet::new();
    let settings = app.health_settings();
    // Before the first request is taken, every HSM has been asked once.
    for hsm in &hsms {
        hsm.probe(settings.probe_timeout).await;
    }
    for hsm in hsms.clone() {
        background.spawn(probes::run(hsm, settings.clone()));
    }
    background.spawn(InvocationLedger::new(&app.state_dir(), hsms.clone()).run());
    background.spawn(control::serve(control_socket, Arc::clone(&app)));
    background.spawn(watch_configuration(Arc::clone(&app), changes));
    let mut serving = bound.serve(&app, &stopped);
    tracing::info!(listeners = ?app.addresses(), "serving");

    let signal = wait_for_stop().await.map_err(start_error)?;
    tracing::info!(signal, "stopping on {signal}: answering what is in flight");
    app.set_stopping();
    let _ = stop.send(true);
    let mut cut = 0;
    while let Some(drained) = serving.join_next().await {
        cut += drained.map_or(0, |drained: Drained| drained.cut);
    }
    background.shutdown().await;
    InvocationLedger::new(&app.state_dir(), hsms).write();
    let _ = std::fs::remove_file(control_path);
    app.release_modules();
    tracing::info!(connections_cut = cut, "stopped");
    Ok(())
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
async fn watch_configuration(app: Arc<App>, changes: ConfigurationChanges) {
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
        rewatch(&mut watch);
        // Logged and counted where it happens.
        let _ = app.reload().await;
        rewatch(&mut watch);
    }
}

/// The sockets, bound before anything is served, so that a port in use is an error at the start.
struct Bound {
    xks: Vec<Listener>,
    admin: Listener,
    probe: Option<Listener>,
}

type Serving = Pin<Box<dyn Future<Output = Drained> + Send>>;

impl Bound {
    fn serve(self, app: &Arc<App>, stopped: &watch::Receiver<bool>) -> JoinSet<Drained> {
        let mut serving = JoinSet::new();
        for listener in self.xks {
            serving.spawn(Box::pin(listener.serve(app.server(), stopped.clone())) as Serving);
        }
        if let Some(probe) = self.probe {
            let routes = Arc::new(ProbeRoutes { readiness: Arc::clone(app) });
            serving.spawn(Box::pin(probe.serve(routes, stopped.clone())) as Serving);
        }
        let routes = Arc::new(Routes { metrics: app.metrics(), readiness: Arc::clone(app) });
        serving.spawn(Box::pin(self.admin.serve(routes, stopped.clone())) as Serving);
        serving
    }
}

impl Readiness for App {
    fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        if self.is_stopping() {
            obstacles.push("stopping".to_owned());
        }
        let down = self.hsms().into_iter().map(|hsm| hsm.health());
        for health in down.filter(|health| health.state == HealthState::Unavailable) {
            obstacles.push(format!("HSM {}: {}", health.id, health.reason.unwrap_or_default()));
        }
        obstacles
    }

    fn publish(&self) {
        self.hsms().iter().for_each(|hsm| hsm.publish());
    }
}

impl control::Controlled for App {
    async fn take_up(&self, change: control::Change) -> Result<(), String> {
        match change {
            control::Change::Blocks => self.reload_blocks(),
            control::Change::Configuration => self.reload().await,
            control::Change::Keys => self.refresh_keys().await,
        }
    }
}

/// Reads the configuration at `path`, as `serve` would.
pub fn check(path: &Path) -> Result<Config, String> {
    let config = Config::load(path).map_err(|error| error.to_string())?;
    build::check(&config)?;
    Ok(config)
}
