//! Before its schema is brought up to date, a copy of the database as it was stays beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rustix::fs::statvfs;

use crate::store::sqlite::schema::Version;
use crate::store::sqlite::{OpenError, backup, files};

/// A migration writes all of the database once more at most, beside the copy.
const ROOM_FACTOR: u64 = 2;
/// And what a small one takes.
const ROOM_MIN_BYTES: u64 = 8 << 20;
/// Copies of older schemas are removed when there are more.
const COPIES_MAX: usize = 2;
/// Of the name of a copy, behind that of the database: the version follows.
const BEFORE: &str = ".schema-";

/// Copies a database of this version, durably. It replaces a copy of the same version only.
pub(super) fn keep_copy(database: &Path, version: Version) -> Result<PathBuf, OpenError> {
    let io = |error| OpenError::Io(database.to_owned(), error);
    require_room(database)?;
    let copy = beside(database, &format!("{BEFORE}{version}"));
    let fresh = beside(database, &format!("{BEFORE}{version}.new"));
    // Left behind by a start that was killed.
    remove_if_there(&fresh).map_err(io)?;
    backup::copy(database, &fresh, &AtomicBool::new(false)).map_err(OpenError::Copy)?;
    std::fs::rename(&fresh, &copy).map_err(io)?;
    files::sync_folder(database.parent().unwrap_or(Path::new("/"))).map_err(io)?;
    Ok(copy)
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn require_room(database: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io(database.to_owned(), error);
    let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    let bytes = length(database) + files::beside(database).map(|path| length(&path)).sum::<u64>();
    let needed = bytes.saturating_mul(ROOM_FACTOR).saturating_add(ROOM_MIN_BYTES);
    let disk = statvfs(database).map_err(|error| io(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < needed { Err(OpenError::NoRoom { path: database.to_owned(), needed, free }) } else { Ok(()) }
}

/// The copies of the highest versions stay. Not before the database is up to date: until then an older one may be the
/// best there is.
pub(super) fn remove_oldest(database: &Path) -> io::Result<()> {
    let folder = database.parent().unwrap_or(Path::new("/"));
    let start = beside(Path::new(database.file_name().unwrap_or_default()), BEFORE);
    let mut copies: Vec<(Version, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix(start.to_str()?)?.parse().ok());
        copies.extend(version.map(|version| (version, entry.path())));
    }
    copies.sort_unstable();
    let surplus = copies.len().saturating_sub(COPIES_MAX);
    copies.iter().take(surplus).try_for_each(|(_, path)| remove_if_there(path))
}
