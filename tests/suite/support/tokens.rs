//! Token folders of SoftHSM, taken away and put back under a running daemon.

use std::path::{Path, PathBuf};

use super::site::Site;

/// A folder that was moved away.
pub struct Away {
    folder: PathBuf,
    hidden: PathBuf,
}

impl Site {
    /// The folder of the token with this label.
    pub fn token_folder(&self, label: &str) -> PathBuf {
        let folders = std::fs::read_dir(self.path("tokens")).unwrap().map(|entry| entry.unwrap().path());
        let has_label = |folder: &Path| {
            let token = std::fs::read(folder.join("token.object")).unwrap();
            token.windows(label.len()).any(|bytes| bytes == label.as_bytes())
        };
        folders.into_iter().find(|folder| has_label(folder)).unwrap()
    }

    pub fn take_away(&self, folder: &Path) -> Away {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let away = Away { folder: folder.to_owned(), hidden: self.path(&format!("hidden-{name}")) };
        std::fs::rename(&away.folder, &away.hidden).unwrap();
        away
    }
}

impl Away {
    pub fn put_back(self) {
        std::fs::rename(self.hidden, self.folder).unwrap();
    }
}
