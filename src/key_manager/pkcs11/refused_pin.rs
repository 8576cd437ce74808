//! Which version of its PIN file a token has refused, in a file of its own: a daemon that is started again and again
//! locks nobody out.

use std::path::Path;

use crate::config;
use crate::config::private_file::{FileVersion, Staged};

pub(super) struct RefusedPin {
    config: config::Hsm,
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
        Self { config: config.clone() }
    }

    pub(super) fn permission(&self) -> Permission {
        let Some(record) = &self.config.refused_pin_file else { return Permission::Granted };
        let refused = match std::fs::read_to_string(record) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Permission::Granted,
            // Better one try too few than one too many.
            Err(error) => {
                self.complain(record, &error);
                return Permission::Refused;
            }
        };
        if self.version().is_some_and(|version| version == refused) {
            Permission::Refused
        } else {
            Permission::Demanded
        }
    }

    pub(super) fn remember(&self) {
        let Some((record, version)) = self.config.refused_pin_file.as_deref().zip(self.version()) else {
            return;
        };
        let folder = record.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder.and_then(|()| Staged::new(record, version.as_bytes())?.replace());
        if let Err(error) = written {
            self.complain(record, &error);
        }
    }

    pub(super) fn forget(&self) {
        let Some(record) = &self.config.refused_pin_file else { return };
        match std::fs::remove_file(record) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => self.complain(record, &error),
            Ok(()) | Err(_) => {}
        }
    }

    /// As it is written down.
    fn version(&self) -> Option<String> {
        let FileVersion { device, inode, bytes, modified, changed } = self.config.pin_version().ok()??;
        Some(format!("{device} {inode} {bytes} {modified} {changed}\n"))
    }

    fn complain(&self, record: &Path, error: &std::io::Error) {
        let (hsm, file) = (&self.config.name, record.display());
        tracing::error!(%hsm, "whether the PIN of HSM {hsm} was refused cannot be kept in {file}: {error}");
    }
}
