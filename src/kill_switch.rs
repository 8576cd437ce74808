//! The kill switch: key stores and keys that are blocked, in a file that survives restarts.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "blocked.json";

/// What is blocked.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// Names of key stores of which nothing may be used.
    #[serde(default)]
    pub key_stores: BTreeSet<String>,
    /// External key ids that no key store may use.
    #[serde(default)]
    pub keys: BTreeSet<String>,
}

/// What can be blocked, by its external key id or its name.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blockable {
    Key(String),
    KeyStore(String),
}

impl fmt::Display for Blockable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key {id}"),
            Self::KeyStore(name) => write!(f, "key store {name}"),
        }
    }
}

impl Blocked {
    /// Whether it is new.
    pub fn insert(&mut self, what: &Blockable) -> bool {
        match what {
            Blockable::Key(id) => self.keys.insert(id.clone()),
            Blockable::KeyStore(name) => self.key_stores.insert(name.clone()),
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, what: &Blockable) -> bool {
        match what {
            Blockable::Key(id) => self.keys.remove(id),
            Blockable::KeyStore(name) => self.key_stores.remove(name),
        }
    }
}

/// What a running daemon says of something that can be blocked.
#[derive(Debug, Deserialize, Serialize)]
pub struct Whereabouts {
    /// Where it is written down.
    pub state_dir: PathBuf,
    /// Whether there is such a key or key store now.
    pub is_known: bool,
}

/// The blocks in force. The file is the truth; this is its copy in memory.
pub struct KillSwitch {
    path: PathBuf,
    blocked: ArcSwap<Blocked>,
    /// One at a time, or an older reading could replace a newer one.
    reading: Mutex<()>,
}

impl KillSwitch {
    /// Reads the file; one that is absent blocks nothing, one that cannot be read is an error, since guessing
    /// would give use back that somebody took away.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE_NAME);
        let blocked = ArcSwap::from_pointee(read(&path)?);
        Ok(Self { path, blocked, reading: Mutex::new(()) })
    }

    /// Takes up what the file says now; on an error what was in force stays in force.
    pub fn reload(&self) -> io::Result<()> {
        let _one_at_a_time = self.reading.lock();
        self.blocked.store(std::sync::Arc::new(read(&self.path)?));
        Ok(())
    }

    pub fn is_key_store_blocked(&self, name: &str) -> bool {
        self.blocked.load().key_stores.contains(name)
    }

    pub fn is_key_blocked(&self, external_key_id: &str) -> bool {
        self.blocked.load().keys.contains(external_key_id)
    }

    pub fn blocked(&self) -> Blocked {
        Blocked::clone(&self.blocked.load())
    }
}

/// Changes the file: whole or not at all, and durable on return. Whoever does two changes at once takes turns
/// by a lock on the directory.
pub fn change<T>(state_dir: &Path, edit: impl FnOnce(&mut Blocked) -> T) -> io::Result<T> {
    let name_it = |path: &Path, error: &io::Error| {
        io::Error::new(error.kind(), format!("nothing is changed: {}: {error}", path.display()))
    };
    std::fs::create_dir_all(state_dir).map_err(|error| name_it(state_dir, &error))?;
    let directory = std::fs::File::open(state_dir).map_err(|error| name_it(state_dir, &error))?;
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)?;
    let path = state_dir.join(FILE_NAME);
    let mut blocked = read(&path)?;
    let edited = edit(&mut blocked);
    replace(&path, state_dir, &blocked).map_err(|error| name_it(&path, &error))?;
    directory.sync_all()?;
    Ok(edited)
}

fn replace(path: &Path, state_dir: &Path, blocked: &Blocked) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
    if rustix::process::geteuid().is_root() {
        // The daemon must be able to read what root has changed.
        let owner = std::fs::metadata(state_dir)?;
        std::os::unix::fs::fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    serde_json::to_writer(&mut file, blocked)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn read(path: &Path) -> io::Result<Blocked> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Blocked::default()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{KillSwitch, change};

    #[test]
    fn a_block_is_seen_after_a_reload_and_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let switch = KillSwitch::open(directory.path()).unwrap();
        change(directory.path(), |blocked| {
            blocked.keys.insert("foo".to_owned());
            blocked.key_stores.insert("store".to_owned());
        })
        .unwrap();
        assert!(!switch.is_key_blocked("foo"));
        switch.reload().unwrap();
        assert!(switch.is_key_blocked("foo") && switch.is_key_store_blocked("store"));
        change(directory.path(), |blocked| _ = blocked.keys.remove("foo")).unwrap();
        let restarted = KillSwitch::open(directory.path()).unwrap();
        assert!(!restarted.is_key_blocked("foo") && restarted.is_key_store_blocked("store"));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_leaves_the_blocks_in_force() {
        let directory = tempfile::tempdir().unwrap();
        change(directory.path(), |blocked| _ = blocked.keys.insert("foo".to_owned())).unwrap();
        let switch = KillSwitch::open(directory.path()).unwrap();
        std::fs::write(directory.path().join(super::FILE_NAME), "{").unwrap();
        assert!(switch.reload().is_err() && KillSwitch::open(directory.path()).is_err());
        assert!(switch.is_key_blocked("foo"));
    }
}
