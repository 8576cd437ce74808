//! The files in the folder of the database: who may read them, who holds them, and when they are durable.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const DATABASE: &str = "kms.db";
/// Not the database itself: SQLite loses its own locks when somebody closes that file.
const LOCK: &str = "kms.lock";
/// What SQLite keeps beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
const OWNER_ONLY: u32 = 0o600;

pub(super) fn database(folder: &Path) -> io::Result<PathBuf> {
    Ok(std::path::absolute(folder)?.join(DATABASE))
}

/// The lock that whoever opens the database holds; none if somebody else does.
pub(super) fn lock(folder: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(OWNER_ONLY).open(folder.join(LOCK))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the file if there is none, and has its owner alone read it; what SQLite makes beside it gets the same.
pub(super) fn make_private(database: &Path) -> io::Result<()> {
    match OpenOptions::new().create_new(true).write(true).mode(OWNER_ONLY).open(database) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    std::fs::set_permissions(database, Permissions::from_mode(OWNER_ONLY))?;
    for path in beside(database) {
        match std::fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

pub(super) fn beside(database: &Path) -> impl Iterator<Item = PathBuf> {
    BESIDE.iter().map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    })
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
