//! Files with secrets: read only if nobody else could have read or changed them, written all or nothing.

use std::fmt;
use std::fs::File;
use std::fs::Metadata;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use crate::secret::SecretBytes;

const FILE_BYTES_MAX: u64 = 1 << 20;
const MODE: u32 = 0o600;
const GROUP_READS: u32 = 0o040;
const PERMISSIONS: u32 = 0o7777;
const PERMISSIONS_OF_OTHERS: u32 = 0o077;
/// Of a file of root: reading by a group is how a process that is not root has it, and root chose whose.
const PERMISSIONS_OF_OTHERS_WITH_ROOT: u32 = 0o037;
const ROOT: u32 = 0;

/// Why a file with a secret was not taken.
#[derive(Debug)]
pub struct PrivateFileError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Exposed { mode: u32, remedy: &'static str },
    ForeignOwner { user_id: u32 },
    Io(io::Error),
    NotRegular,
    TooBig,
}

impl fmt::Display for PrivateFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Exposed { mode, remedy } => {
                write!(
                    f,
                    "{path}: mode {mode:04o} lets others read or write this secret; run `chmod {remedy} {path}`"
                )
            }
            Cause::ForeignOwner { user_id } => {
                write!(
                    f,
                    "{path}: belongs to user {user_id}, who is neither root nor the user of this process"
                )
            }
            Cause::Io(error) => write!(f, "{path}: {error}"),
            Cause::NotRegular => write!(f, "{path}: not a regular file"),
            Cause::TooBig => write!(f, "{path}: bigger than {FILE_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for PrivateFileError {}

impl PrivateFileError {
    pub fn is_not_found(&self) -> bool {
        matches!(&self.cause, Cause::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// The content of a regular file that only root and the user of this process can read or write; of one of root also
/// a group may read, as it does with the secrets of Kubernetes and the credentials of systemd.
pub fn read(path: &Path) -> Result<SecretBytes, PrivateFileError> {
    read_checked(path).map_err(|cause| PrivateFileError { path: path.to_owned(), cause })
}

/// The content without the end of its one line: a PIN.
pub fn read_line(path: &Path) -> Result<SecretBytes, PrivateFileError> {
    let content = read(path)?;
    let line = content.expose();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Ok(SecretBytes::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}

/// Tells one content of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    pub device: u64,
    pub inode: u64,
    pub bytes: u64,
    /// Nanoseconds since the Unix epoch.
    pub modified: i128,
    /// The same, of content or attributes: nobody can set it.
    pub changed: i128,
}

/// The version of a file that [`read`] would take.
pub fn version(path: &Path) -> Result<FileVersion, PrivateFileError> {
    let (_, metadata) =
        open_checked(path).map_err(|cause| PrivateFileError { path: path.to_owned(), cause })?;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Ok(FileVersion {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn open_checked(path: &Path) -> Result<(File, Metadata), Cause> {
    // What was opened is what is checked. Without NONBLOCK a named pipe would hang the open.
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(no_wait).open(path).map_err(Cause::Io)?;
    let metadata = file.metadata().map_err(Cause::Io)?;
    let mode = metadata.mode() & PERMISSIONS;
    if !metadata.is_file() {
        return Err(Cause::NotRegular);
    }
    allow((metadata.uid(), metadata.gid()), mode, rustix::process::geteuid().as_raw())?;
    Ok((file, metadata))
}

/// Whether a file of this owner and mode is private enough for a process of the user `own_id`.
fn allow((user_id, group_id): (u32, u32), mode: u32, own_id: u32) -> Result<(), Cause> {
    let (refused, remedy) = match user_id {
        ROOT if group_id != ROOT => (PERMISSIONS_OF_OTHERS_WITH_ROOT, "g-wx,o="),
        ROOT => (PERMISSIONS_OF_OTHERS, "600"),
        id if id == own_id => (PERMISSIONS_OF_OTHERS, "600"),
        _ => return Err(Cause::ForeignOwner { user_id }),
    };
    if mode & refused == 0 { Ok(()) } else { Err(Cause::Exposed { mode, remedy }) }
}

fn read_checked(path: &Path) -> Result<SecretBytes, Cause> {
    let (file, metadata) = open_checked(path)?;
    let size = usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or_default();
    // Room for the whole file and one more byte: a vector that grows leaves copies behind.
    let mut content = Vec::with_capacity(size.saturating_add(1));
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content);
    let content = SecretBytes::new(content);
    match read {
        Err(error) => Err(Cause::Io(error)),
        Ok(_) if content.len() as u64 > FILE_BYTES_MAX => Err(Cause::TooBig),
        Ok(_) => Ok(content),
    }
}

/// A file that is private, written and flushed under a name of its own beside the one that it is to have.
pub struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    pub fn new(path: &Path, content: &[u8]) -> io::Result<Self> {
        let mut file = NamedTempFile::new_in(folder(path))?;
        file.write_all(content)?;
        if rustix::process::geteuid().is_root() {
            hand_over(file.as_file(), path)?;
        }
        file.as_file().sync_all()?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Gives the file its name, in place of whatever had it.
    pub fn replace(self) -> io::Result<()> {
        self.file.persist(&self.path)?;
        sync_folder(&self.path)
    }

    /// Gives the file its name, unless another file has it.
    pub fn create(self) -> io::Result<()> {
        self.file.persist_noclobber(&self.path)?;
        sync_folder(&self.path)
    }
}

/// The daemon must be able to read what root makes: as it could the file that is replaced, else as it can the folder.
fn hand_over(file: &File, path: &Path) -> io::Result<()> {
    let folder = std::fs::metadata(folder(path))?;
    // Whoever may write into a folder of root's, such as /tmp, must not get a secret by being there first.
    let is_of_folder = |former: &Metadata| former.is_file() && [ROOT, folder.uid()].contains(&former.uid());
    let former = std::fs::symlink_metadata(path).ok().filter(is_of_folder);
    let (user_id, group_id, mode) = match former {
        Some(former) if former.gid() == ROOT => (former.uid(), ROOT, MODE),
        Some(former) => (former.uid(), former.gid(), former.mode() & (MODE | GROUP_READS)),
        None if folder.uid() == ROOT && folder.gid() != ROOT => (ROOT, folder.gid(), MODE | GROUP_READS),
        None => (folder.uid(), folder.gid(), MODE),
    };
    fchown(file, Some(user_id), Some(group_id))?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// Writes a private file, of mode 0600 but for what root hands over; at any moment the path names the whole old content or the whole new one.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    Staged::new(path, content)?.replace()
}

/// Makes a rename in the folder of `path` survive a power failure.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// The folder a file is in; the current one for a bare name.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: u32 = 977;
    const STRANGER: u32 = 1000;

    /// Nobody but root can give files away.
    #[test]
    fn what_root_writes_can_be_read_by_whom_it_could_be_read_before() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        let look = || {
            let found = std::fs::metadata(&path).unwrap();
            (found.uid(), found.gid(), found.mode() & PERMISSIONS)
        };
        for (owner, group, made) in [
            (ROOT, DAEMON, (ROOT, DAEMON, 0o640)),
            (DAEMON, DAEMON, (DAEMON, DAEMON, 0o600)),
            (ROOT, ROOT, (ROOT, ROOT, 0o600)),
        ] {
            std::os::unix::fs::chown(folder.path(), Some(owner), Some(group)).unwrap();
            replace(&path, b"secret").unwrap();
            assert_eq!(look(), made);
            std::fs::remove_file(&path).unwrap();
        }
        std::os::unix::fs::chown(folder.path(), Some(ROOT), Some(ROOT)).unwrap();
        for (owner, mode, kept) in [
            (ROOT, 0o640, (ROOT, DAEMON, 0o640)),
            (ROOT, 0o444, (ROOT, DAEMON, 0o440)),
            (STRANGER, 0o644, (ROOT, ROOT, 0o600)),
        ] {
            std::fs::write(&path, "former").unwrap();
            std::os::unix::fs::chown(&path, Some(owner), Some(DAEMON)).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            replace(&path, b"secret").unwrap();
            assert_eq!(look(), kept, "{owner} {mode:04o}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_group_may_read_what_belongs_to_root_and_nothing_else() {
        for (owner, mode, own_id, is_allowed) in [
            (DAEMON, 0o600, DAEMON, true),
            (DAEMON, 0o640, DAEMON, false),
            (ROOT, 0o400, DAEMON, true),
            (ROOT, 0o440, DAEMON, true),
            (ROOT, 0o640, DAEMON, true),
            (ROOT, 0o660, DAEMON, false),
            (ROOT, 0o644, DAEMON, false),
            (ROOT, 0o600, ROOT, true),
            (ROOT, 0o640, ROOT, true),
            (ROOT, 0o650, DAEMON, false),
            (DAEMON, 0o600, ROOT, false),
            (STRANGER, 0o600, DAEMON, false),
        ] {
            let found = allow((owner, DAEMON), mode, own_id).is_ok();
            assert_eq!(found, is_allowed, "{owner} {mode:04o} {own_id}");
        }
    }
}
