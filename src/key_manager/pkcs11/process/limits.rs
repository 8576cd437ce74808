//! What a worker process gives up: it lives no longer than the daemon, and can become nothing else.

use std::io;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};

/// SoftHSM opens the file of every object that it looks at.
const OPEN_FILES: u64 = 4096;

/// Core dumps and tracing were given up already, as by every command.
pub(super) fn give_up(daemon_pid: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the kernel was told.
    let is_parent =
        getppid().is_some_and(|parent| u32::try_from(Pid::as_raw(Some(parent))) == Ok(daemon_pid));
    if !is_parent {
        return Err(io::Error::other("the daemon is gone"));
    }
    rustix::thread::set_no_new_privs(true)?;
    // If the machine runs out of memory it is the library that goes, not the daemon. Where that cannot be said, it is as before.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let limit = getrlimit(Resource::Nofile);
    let files = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) })?;
    Ok(())
}
