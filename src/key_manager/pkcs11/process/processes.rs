//! Starts worker processes, from a thread that lives as long as the daemon: when it ends, so do they.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::SocketType;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::config::{self, environment};
use crate::key_manager::pkcs11::process::job_socket::pair;

/// The command of this program that a worker process runs; `holdfast --help` does not show it.
const COMMAND: &str = "hsm-worker";
/// This program, also after another one was installed in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// What libraries and the C library may want, besides what the configuration gives them.
const INHERITED: [&str; 8] = ["HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER"];

/// How often is looked whether processes that were killed have ended.
const REAP_INTERVAL: Duration = Duration::from_millis(100);

/// Writes a line of a worker process to the log; the line has no end yet.
pub type LogLine = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What all worker processes of a daemon have in common.
pub struct Processes {
    pub(super) runtime: Handle,
    pub(super) log: LogLine,
    pub(super) log_filter: String,
    program: PathBuf,
    /// Ends the thread when it is dropped.
    requests: Mutex<mpsc::Sender<Request>>,
}

enum Request {
    Start {
        command: Command,
        reply: oneshot::Sender<io::Result<Child>>,
    },
    /// It is about to end.
    Reap(Child),
}

/// A process that was just started.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) control: tokio::net::UnixStream,
    pub(super) jobs: OwnedFd,
}

impl Processes {
    /// `runtime` serves them. The program is this one, or another build of it.
    pub fn new(
        runtime: Handle,
        log: LogLine,
        log_filter: &str,
        program: Option<PathBuf>,
    ) -> io::Result<Arc<Self>> {
        let (requests, waiting) = mpsc::channel::<Request>();
        let program = program.unwrap_or_else(|| PathBuf::from(THIS_PROGRAM));
        // INVARIANT: the kernel ends a process when the thread that started it ends (`limits.rs`).
        thread::Builder::new().name("worker-starter".to_owned()).spawn(move || {
            let mut dying: Vec<Child> = Vec::new();
            loop {
                // One that a driver holds on to is waited for, but not before others are started.
                let request = match waiting.recv_timeout(REAP_INTERVAL) {
                    Ok(request) => Some(request),
                    Err(mpsc::RecvTimeoutError::Timeout) => None,
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                };
                match request {
                    Some(Request::Start { mut command, reply }) => {
                        if let Err(Ok(unwanted)) = reply.send(command.spawn()) {
                            dying.push(killed(unwanted));
                        }
                    }
                    Some(Request::Reap(child)) => dying.push(killed(child)),
                    None => {}
                }
                dying.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            }
        })?;
        let requests = Mutex::new(requests);
        Ok(Arc::new(Self { runtime, log, log_filter: log_filter.to_owned(), requests, program }))
    }

    /// Ends a process that nobody serves any more.
    pub(super) fn reap(&self, mut child: Child) {
        let _ = child.kill();
        let _ = self.requests.lock().send(Request::Reap(child));
    }

    /// Standard input is where it is told what to do, standard output where its jobs are; it shares standard error with
    /// the daemon.
    pub(super) async fn start(&self, hsm: &config::Hsm) -> io::Result<Started> {
        let (control, its_control) = UnixStream::pair()?;
        let (jobs, its_jobs) = pair(SocketType::SEQPACKET)?;
        rustix::io::ioctl_fionbio(&jobs, true)?;
        control.set_nonblocking(true)?;
        let mut command = Command::new(&self.program);
        let inherited = INHERITED.iter().filter_map(|name| Some((name, environment::variable(name)?)));
        command
            .arg0("holdfast")
            .args([COMMAND, "--", &hsm.name])
            .env_clear()
            .envs(inherited)
            .envs(&hsm.environment)
            .current_dir("/")
            .stdin(OwnedFd::from(its_control))
            .stdout(its_jobs);
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.lock().send(Request::Start { command, reply });
        sent.map_err(|_| io::Error::other("the thread that starts processes has ended"))?;
        let child = answer.await.map_err(io::Error::other)??;
        match tokio::net::UnixStream::from_std(control) {
            Ok(control) => Ok(Started { child, control, jobs }),
            Err(error) => {
                self.reap(child);
                Err(error)
            }
        }
    }
}

/// It ends soon, and its entry in the table of processes goes when it is asked for.
fn killed(mut child: Child) -> Child {
    let _ = child.kill();
    child
}
