//! The daemon under test: its process, its workers, its metrics.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::wait_for;

pub struct Daemon {
    child: Child,
    admin_port: u16,
    log: PathBuf,
}

/// What processes hold on to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub memory_kb: u64,
    pub threads: u64,
    pub files: u64,
    pub processes: u64,
}

const START_PATIENCE: Duration = Duration::from_secs(60);
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
const LOG_TAIL_BYTES: usize = 3000;

impl Daemon {
    pub fn start(holdfast: &Path, root: &Path, admin_port: u16) -> Self {
        let log = root.join("log");
        let file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new(holdfast)
            .args(["serve", "--config"])
            .arg(root.join("holdfast.toml"))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, admin_port, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait_ready(&mut self) {
        let is_ready = wait_for(START_PATIENCE, || {
            assert!(self.is_running(), "the daemon ended: {}", self.log_tail());
            self.admin("/readyz").is_some_and(|(status, _)| status == 200)
        });
        assert!(is_ready, "the daemon is not ready: {}", self.log_tail());
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) {
        kill(self.pid(), Signal::TERM);
        let _ = self.child.wait();
    }

    fn admin(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port)).ok()?;
        stream.set_read_timeout(Some(ADMIN_TIMEOUT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The sum of the metrics of this name that have all these labels.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics").map(|(_, text)| text).unwrap_or_default();
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| {
                rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
            })
        });
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The processes that it has started.
    pub fn workers(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task", self.pid());
        let tasks = fs::read_dir(path).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        children
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect()
    }

    /// The one that has loaded this library.
    pub fn worker_of(&self, library: &str) -> Option<u32> {
        let has_loaded = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(library))
        };
        self.workers().into_iter().find(has_loaded)
    }

    /// Of the daemon and its workers.
    pub fn resources(&self) -> Resources {
        let mut sum = Resources::default();
        for pid in self.workers().into_iter().chain([self.pid()]) {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let value = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name));
                line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
            };
            sum.memory_kb += value("VmRSS:");
            sum.threads += value("Threads:");
            sum.files += fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64);
            sum.processes += 1;
        }
        sum
    }

    /// Its last lines.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }
}
