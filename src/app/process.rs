//! What a process that handles keys asks of the operating system.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// A core dump would hold PINs, credentials and plaintexts; files and sockets are for this user alone.
pub fn harden() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    umask(Mode::from_raw_mode(0o077));
}

/// Allows as many open files as the system lets us. Without a descriptor for a token's file or for the control
/// socket nothing works, and connections take them all if they may.
pub(super) fn raise_open_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Some(allowed) = getrlimit(Resource::Nofile).current
        && allowed < wanted
    {
        tracing::warn!(
            allowed,
            wanted,
            "the system allows {allowed} open files and `connections_max` may take {wanted}: raise the one or lower the other"
        );
    }
}

/// Held as long as the daemon runs: two would write each other's counts over.
pub(super) fn lock(state_dir: &Path) -> io::Result<File> {
    std::fs::create_dir_all(state_dir)?;
    let file = File::create(state_dir.join("daemon.lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(io::Error::other("another daemon runs on it")),
        Err(error) => Err(error.into()),
    }
}
