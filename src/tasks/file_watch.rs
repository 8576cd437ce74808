//! Notices when a file of the configuration changes, also when it is replaced or comes through a symbolic link.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Editors and tools write in several steps; a change is looked at when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);

/// Watches the folders of files. Kubernetes changes a mounted file by exchanging a symbolic link beside it, and
/// most tools replace the file: a watch on the file itself would miss both.
pub struct FileWatch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    events: mpsc::Receiver<()>,
}

impl FileWatch {
    pub fn start(files: &[PathBuf]) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change; else every reload would cause the next.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = sender.try_send(());
            }
        })?;
        let mut watch = Self { watcher, folders: BTreeSet::new(), events };
        watch.watch(files);
        Ok(watch)
    }

    /// Watches these files from now on, besides those watched already.
    pub fn watch(&mut self, files: &[PathBuf]) {
        for folder in files.iter().filter_map(|file| file.parent()).map(Path::to_owned) {
            if self.folders.contains(&folder) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.folders.insert(folder)),
                Err(error) => {
                    tracing::warn!(reason = %error, "cannot watch {}; use SIGHUP to reload", folder.display());
                }
            }
        }
    }

    /// Completes when something changed and then was quiet.
    pub async fn changed(&mut self) {
        if self.events.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.recv()).await {}
    }
}
