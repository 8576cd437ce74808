//! Where each provisioned thing is: files in the folder, ports of the machine.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::fs::TryLockError;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::provision::Error;
use crate::provision::io_at;

const PRIVATE: u32 = 0o700;

/// Held while the folder is worked on. It is made first, so it also tells a folder of ours from any other.
const LOCK: &str = "provision.lock";
const SOFTHSM_CONFIGURATION: &str = "softhsm2.conf";

/// The folder that holds everything; its path is absolute, and text that SoftHSM, TOML and a shell can hold.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    text: String,
}

impl Folder {
    pub fn new(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(io_at(path))?;
        // What SoftHSM cannot read in its configuration.
        let illegal = |c: char| c.is_control() || matches!(c, '#' | '=');
        let writable = path.to_str().filter(|text| !text.contains(illegal));
        let text = writable.ok_or_else(|| Error::UnwritablePath(path.clone()))?.to_owned();
        Ok(Self { path, text })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in the folder, as text.
    pub(super) fn text_of(&self, name: &str) -> String {
        format!("{}/{name}", self.text.trim_end_matches('/'))
    }

    /// What tells SoftHSM its configuration.
    pub fn softhsm_variable(&self) -> (String, String) {
        ("SOFTHSM2_CONF".into(), self.text_of(SOFTHSM_CONFIGURATION))
    }

    pub(super) fn softhsm_configuration(&self) -> PathBuf {
        self.path.join(SOFTHSM_CONFIGURATION)
    }

    pub(super) fn tokens(&self) -> PathBuf {
        self.path.join("tokens")
    }

    /// Where tokens are made; what is complete goes to `tokens`.
    pub(super) fn tokens_unfinished(&self) -> PathBuf {
        self.path.join("tokens.unfinished")
    }

    pub(super) fn pin(&self) -> PathBuf {
        self.path.join("pin")
    }

    /// The first password of `kmsuser`.
    pub(super) fn cluster_pin(&self) -> PathBuf {
        self.path.join("cluster-pin")
    }

    pub(super) fn so_pin(&self) -> PathBuf {
        self.path.join("so-pin")
    }

    pub(super) fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    pub(super) fn accounts(&self) -> PathBuf {
        self.path.join("accounts.toml")
    }

    pub(super) fn credentials(&self) -> PathBuf {
        self.path.join("credentials.toml")
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.path.join("holdfast.toml")
    }

    pub(super) fn variables(&self) -> PathBuf {
        self.path.join("env")
    }

    /// Makes the folder if it is absent, closes it to others, and locks it until the answer is dropped.
    pub(super) fn open(&self) -> Result<File, Error> {
        let io = io_at(&self.path);
        let lock_path = self.path.join(LOCK);
        fs::create_dir_all(&self.path).map_err(&io)?;
        let is_ours = lock_path.try_exists().map_err(&io)?;
        if !is_ours && fs::read_dir(&self.path).map_err(&io)?.next().is_some() {
            return Err(Error::Foreign(self.path.clone()));
        }
        fs::set_permissions(&self.path, Permissions::from_mode(PRIVATE)).map_err(&io)?;
        let lock = File::create(&lock_path).map_err(io_at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(self.path.clone())),
            Err(TryLockError::Error(error)) => Err(io_at(&lock_path)(error)),
        }
    }
}

/// The five ports of a quick start, in a row.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub(super) xks: u16,
    pub(super) xks_mtls: u16,
    pub(super) kms: u16,
    pub(super) kms_http: u16,
    pub(super) admin: u16,
}

impl Ports {
    /// The base is at most 65531, or the last ports repeat.
    pub fn from_base(base: u16) -> Self {
        let port = |offset| base.saturating_add(offset);
        Self { xks: base, xks_mtls: port(1), kms: port(2), kms_http: port(3), admin: port(4) }
    }
}
