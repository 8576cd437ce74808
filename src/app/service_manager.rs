//! Tells the service manager how far the daemon is: the notification protocol of `sd_notify(3)`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::environment;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_MICROSECONDS: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS_ID: &str = "WATCHDOG_PID";
/// Signs of life in the time in which one is expected.
const SIGNS_OF_LIFE: u32 = 3;

/// The service manager that has started us, if it wants to know.
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often it expects a sign of life.
    pub(super) watchdog: Option<Duration>,
}

impl ServiceManager {
    pub(super) fn from_environment() -> Self {
        let socket = environment::variable(SOCKET).and_then(|address| {
            connect(&address)
                .inspect_err(|error| {
                    tracing::warn!(reason = %error, "the service manager cannot be told anything: {error}");
                })
                .ok()
        });
        let number = |name| environment::variable(name)?.to_str()?.parse::<u64>().ok();
        let is_for_us =
            number(WATCHDOG_PROCESS_ID).is_none_or(|process_id| process_id == u64::from(std::process::id()));
        let watchdog = number(WATCHDOG_MICROSECONDS)
            .filter(|&microseconds| microseconds > 0 && is_for_us && socket.is_some())
            .map(|microseconds| Duration::from_micros(microseconds) / SIGNS_OF_LIFE);
        Self { socket, watchdog }
    }

    /// Requests are taken. Whether an HSM answers is told by `/readyz`: another start would not make it answer.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// `READY=1` ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration"));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=answering what is in flight");
    }

    fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Never waits: whoever does not read what it is told is not told.
    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(reason = %error, "the service manager was not told: {error}");
        }
    }
}

fn connect(address: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&socket_address(address)?)?;
    Ok(socket)
}

fn socket_address(address: &OsString) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(address)
}

/// Shows that tasks still get their turn. Without a watchdog there is nobody to show it to.
pub(super) async fn show_life(manager: &ServiceManager) {
    let Some(interval) = manager.watchdog else { return };
    loop {
        manager.alive();
        tokio::time::sleep(interval).await;
    }
}
