//! What the quick start needs, made once in a folder of its own: each step makes what is missing and keeps the rest,
//! so that a run which was cut off at any point is completed by the next.

mod accounts;
mod configuration;
mod folder;
mod shell;
mod softhsm;
mod tls;
mod variables;

use std::error;
use std::fmt;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use aws_lc_rs::error::Unspecified;

pub use accounts::AccountId;
pub use folder::Folder;
pub use folder::Ports;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Credential;
use crate::config::credentials;
use crate::config::credentials::CredentialsError;
use crate::config::private_file;
use crate::config::private_file::PrivateFileError;
use crate::key_manager::pkcs11::KeyAdminError;
use crate::secret::SecretBytes;

/// What to make, and where.
#[derive(Debug)]
pub struct Plan {
    pub folder: Folder,
    pub ports: Ports,
    pub account_id: AccountId,
    /// The SoftHSM library; absent: looked for.
    pub module: Option<PathBuf>,
}

/// Why a folder was not provisioned.
#[derive(Debug)]
pub enum Error {
    Accounts(PathBuf),
    Busy(PathBuf),
    Certificate(PathBuf, rcgen::Error),
    Config(ConfigError),
    Credentials(CredentialsError),
    Foreign(PathBuf),
    Io(PathBuf, io::Error),
    Key(KeyAdminError),
    /// SoftHSM has no slot for a token.
    NoSlot,
    /// Places where there is no SoftHSM library.
    NoSoftHsm(Vec<PathBuf>),
    /// The token needs the PIN that was in this file.
    PinLost(PathBuf),
    PrivateFile(PrivateFileError),
    Random(Unspecified),
    Token(cryptoki::error::Error),
    UnwritablePath(PathBuf),
    UnreadableConfiguration(PathBuf),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accounts(path) => write!(f, "{}: not a file of accounts", path.display()),
            Self::Busy(path) => write!(f, "{}: is being provisioned by another process", path.display()),
            Self::Certificate(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Config(error) => error.fmt(f),
            Self::Credentials(error) => error.fmt(f),
            Self::Foreign(path) => {
                write!(
                    f,
                    "{}: has files in it that holdfast did not make; give an empty folder",
                    path.display()
                )
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Key(error) => write!(f, "SoftHSM: {error}"),
            Self::NoSlot => f.write_str("SoftHSM: no slot for a token"),
            Self::NoSoftHsm(places) => {
                let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
                let places = places.join(", ");
                write!(f, "no SoftHSM library at {places}: install `softhsm2` or name it with `--module`")
            }
            Self::PinLost(path) => {
                write!(
                    f,
                    "{}: is gone, and nothing else opens the token; start with an empty folder",
                    path.display()
                )
            }
            Self::PrivateFile(error) => error.fmt(f),
            Self::Random(error) => write!(f, "no random bytes: {error}"),
            Self::Token(error) => write!(f, "SoftHSM: {error}"),
            Self::UnwritablePath(path) => {
                write!(
                    f,
                    "{}: the path must be UTF-8 without control characters, `#` and `=`: SoftHSM cannot read it",
                    path.display()
                )
            }
            Self::UnreadableConfiguration(path) => {
                write!(f, "{}: not TOML; mend it, or remove it to have it made again", path.display())
            }
        }
    }
}

impl error::Error for Error {}

impl From<Unspecified> for Error {
    fn from(error: Unspecified) -> Self {
        Self::Random(error)
    }
}

/// Names the file in an I/O error.
fn io_at(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::Io(path.to_owned(), error)
}

/// Makes what is missing and says on `out` what it made. The environment must name the SoftHSM configuration already
/// ([`Folder::softhsm_variable`]).
pub fn provision(plan: &Plan, clock: &dyn Clock, out: &mut dyn Write) -> Result<(), Error> {
    let folder = &plan.folder;
    let _lock = folder.open()?;
    let module = softhsm::find_module(plan.module.as_deref())?;
    let mut report = Report { out, folder };
    let cluster = configuration::has_cluster(folder);
    softhsm::provision(folder, &module, &mut report)?;
    let cluster_password =
        if cluster { Some(softhsm::provision_cluster(folder, &module, &mut report)?) } else { None };
    tls::provision(folder, clock, &mut report)?;
    let accounts = accounts::provision(folder, &plan.account_id)?;
    let credential = provision_credential(folder, clock, &mut report)?;
    configuration::provision(folder, plan.ports, &module, &mut report)?;
    let secrets = Secrets { credential: &credential, cluster_password: cluster_password.as_ref() };
    variables::provision(plan, &secrets, &accounts)?;
    Config::load(&folder.configuration()).map_err(Error::Config)?;
    let configuration = folder.configuration();
    report.say(format_args!(
        "ready for `holdfast serve --config {}`",
        shell::quote(&configuration.to_string_lossy())
    ))
}

/// What clients of the quick start need besides the accounts.
struct Secrets<'a> {
    credential: &'a Credential,
    /// Absent in a folder that was made before there were clusters.
    cluster_password: Option<&'a SecretBytes>,
}

/// The newest credential of the one key store; if there is none, a new one.
fn provision_credential(
    folder: &Folder,
    clock: &dyn Clock,
    report: &mut Report<'_>,
) -> Result<Credential, Error> {
    let path = folder.credentials();
    if path.try_exists().map_err(io_at(&path))? {
        let newest = credentials::read(&path).map_err(Error::Credentials)?.pop();
        if let Some(credential) = newest {
            return Ok(credential);
        }
    }
    let credential = Credential::generate(clock.unix_seconds())?;
    credentials::append(&path, credential.clone()).map_err(Error::Credentials)?;
    report.made(&path)?;
    Ok(credential)
}

/// Tells a person what was made, and where.
struct Report<'a> {
    out: &'a mut dyn Write,
    folder: &'a Folder,
}

impl Report<'_> {
    fn made(&mut self, path: &Path) -> Result<(), Error> {
        self.say(format_args!("made {}", path.display()))
    }

    fn say(&mut self, line: fmt::Arguments<'_>) -> Result<(), Error> {
        writeln!(self.out, "{line}").map_err(io_at(self.folder.path()))
    }
}

/// Writes a file whose content follows from the rest of the folder, unless it is as it should be.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<(), Error> {
    let is_same = match private_file::read(path) {
        Ok(present) => present.expose() == content,
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(Error::PrivateFile(error)),
    };
    if is_same { Ok(()) } else { private_file::replace(path, content).map_err(io_at(path)) }
}
