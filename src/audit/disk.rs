//! The folder of a trail: its files by name, and what is asked of the file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, fdatasync, flock, fsync, statvfs};
use rustix::io::Errno;

use crate::audit::chain::{Line, SEQUENCE_MAX};

const PREFIX: &str = "trail-";
const SUFFIX: &str = ".jsonl";
/// As many as the greatest sequence has.
const DIGITS: usize = 20;
const LOCK: &str = "lock";
/// Longer than any line.
const LINE_BYTES_MAX: u64 = 4 << 20;
const LIVE_MODE: u32 = 0o640;
/// What is finished nobody writes to any more.
const FINISHED_MODE: u32 = 0o440;

/// A file that lines go to.
pub(super) trait LiveFile: Send {
    /// Writes some of the bytes; how many.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    fn truncate(&mut self, bytes: u64) -> io::Result<()>;

    /// What was written is on the disk when this returns.
    fn sync(&mut self) -> io::Result<()>;
}

/// Where the files are.
pub(super) trait Disk: Send {
    /// Makes the file whose first line has this sequence; empties it if it is there.
    fn create(&mut self, first: u64) -> io::Result<Box<dyn LiveFile>>;

    /// No line will go to this file any more.
    fn finish(&mut self, first: u64) -> io::Result<()>;

    /// The files there are, and when each was written last, the oldest first.
    fn files(&self) -> io::Result<Vec<(u64, SystemTime)>>;

    /// The sequence of the last line of a file that is finished.
    fn last_sequence(&self, first: u64) -> io::Result<u64>;

    fn remove(&mut self, first: u64) -> io::Result<()>;

    fn free_bytes(&self) -> io::Result<u64>;
}

/// A folder of a real file system, locked as long as this lives.
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if there is none. Fails if another process has it.
    pub(super) fn lock(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path.join(LOCK))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(io::Error::other("another process writes to it")),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self, first: u64) -> PathBuf {
        self.path.join(file_name(first))
    }

    /// Goes on with a file.
    pub(super) fn open(&self, first: u64) -> io::Result<Box<dyn LiveFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.file(first))?;
        Ok(Box::new(file))
    }

    /// Whether nobody is to write to a file any more.
    pub(super) fn is_finished(&self, first: u64) -> io::Result<bool> {
        Ok(fs::metadata(self.file(first))?.permissions().mode() & 0o200 == 0)
    }

    /// What was made or removed in the folder is on the disk when this returns.
    fn sync(&self) -> io::Result<()> {
        Ok(fsync(File::open(&self.path)?)?)
    }
}

impl Disk for Folder {
    fn create(&mut self, first: u64) -> io::Result<Box<dyn LiveFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(LIVE_MODE);
        let file = options.open(self.file(first))?;
        self.sync()?;
        Ok(Box::new(file))
    }

    fn finish(&mut self, first: u64) -> io::Result<()> {
        fs::set_permissions(self.file(first), fs::Permissions::from_mode(FINISHED_MODE))
    }

    fn files(&self) -> io::Result<Vec<(u64, SystemTime)>> {
        let time = |first| Ok((first, fs::metadata(self.file(first))?.modified()?));
        files(&self.path)?.into_iter().map(time).collect()
    }

    fn last_sequence(&self, first: u64) -> io::Result<u64> {
        let file = File::open(self.file(first))?;
        let size = file.metadata()?.len();
        let mut end = vec![0; usize::try_from(size.min(LINE_BYTES_MAX)).unwrap_or_default()];
        file.read_exact_at(&mut end, size.saturating_sub(LINE_BYTES_MAX))?;
        last_sequence(&end).ok_or_else(|| io::Error::other("its last line cannot be read"))
    }

    fn remove(&mut self, first: u64) -> io::Result<()> {
        fs::remove_file(self.file(first))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let facts = statvfs(&self.path)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

impl LiveFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(fdatasync(self)?)
    }
}

/// Of the last whole line in these bytes.
pub(super) fn last_sequence(end: &[u8]) -> Option<u64> {
    // What is behind the last newline is nothing, or torn.
    let line = end.rsplit(|byte| *byte == b'\n').nth(1)?;
    Line::parse(line).map(|line| line.sequence)
}

/// The name of the file whose first line has this sequence.
pub(super) fn file_name(first: u64) -> String {
    format!("{PREFIX}{first:0DIGITS$}{SUFFIX}")
}

/// The first sequences of the files of a trail in their order. What has another name does not belong to it.
pub(super) fn files(folder: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder)? {
        firsts.extend(entry?.file_name().to_str().and_then(first_of));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let first = digits.parse().ok()?;
    ((1..=SEQUENCE_MAX).contains(&first) && file_name(first) == name).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::{Disk, Folder, SEQUENCE_MAX, file_name, files};

    #[test]
    fn names_sort_as_their_sequences_and_others_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["trail-1.jsonl", "lock", "trail-00000000000000000005.jsonl.gz"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let sequences = [1, 10, 9, 0, SEQUENCE_MAX, u64::MAX];
        for first in sequences {
            std::fs::write(folder.path().join(file_name(first)), "").unwrap();
        }
        assert_eq!(files(folder.path()).unwrap(), [1, 9, 10, SEQUENCE_MAX]);
    }

    #[test]
    fn two_do_not_write_to_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::lock(folder.path()).unwrap();
        assert!(Folder::lock(folder.path()).is_err());
        assert!(first.free_bytes().unwrap() > 0);
        drop(first);
        Folder::lock(folder.path()).unwrap();
    }
}
