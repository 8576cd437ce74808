//! Which version of its PIN file a token has refused, in a file of its own: a daemon that is started again and again
//! locks nobody out.

use std::path::{Path, PathBuf};

use crate::config;
use crate::config::private_file::{FileVersion, Staged};

pub(super) struct RefusedPin {
    hsm: String,
    pin_file: Option<PathBuf>,
    record: Option<PathBuf>,
}

/// Whether a PIN may be tried that nobody has tried yet since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Granted,
    /// The file was changed, or touched, since it was refused: somebody wants it to be tried.
    Demanded,
    Refused,
}

impl RefusedPin {
    pub(super) fn of(config: &config::Hsm) -> Self {
        Self {
            hsm: config.name.clone(),
            pin_file: config.pin_file.clone(),
            record: config.refused_pin_file.clone(),
        }
    }

    pub(super) fn permission(&self) -> Permission {
        let Some(record) = &self.record else { return Permission::Granted };
        let refused = match std::fs::read_to_string(record) {
            Ok(text) => FileVersion::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Permission::Granted,
            // Better one try too few than one too many.
            Err(error) => {
                self.complain(record, &error);
                return Permission::Refused;
            }
        };
        if self.version() == Some(refused) { Permission::Refused } else { Permission::Demanded }
    }

    pub(super) fn remember(&self) {
        let Some((record, version)) = self.record.as_deref().zip(self.version()) else { return };
        let folder = record.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder.and_then(|()| Staged::new(record, format!("{version}\n").as_bytes())?.replace());
        if let Err(error) = written {
            self.complain(record, &error);
        }
    }

    pub(super) fn forget(&self) {
        let Some(record) = &self.record else { return };
        match std::fs::remove_file(record) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => self.complain(record, &error),
            Ok(()) | Err(_) => {}
        }
    }

    fn version(&self) -> Option<FileVersion> {
        self.pin_file.as_deref().and_then(|file| FileVersion::of(file).ok())
    }

    fn complain(&self, record: &Path, error: &std::io::Error) {
        let (hsm, file) = (&self.hsm, record.display());
        tracing::error!(%hsm, "whether the PIN of HSM {hsm} was refused cannot be kept in {file}: {error}");
    }
}
