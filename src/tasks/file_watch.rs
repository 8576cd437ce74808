//! Notices when a file of the configuration changes, also when it is replaced or comes through a symbolic link.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::RwLock;
use tokio::sync::mpsc;

/// Editors and tools write in several steps; a change is looked at when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);

/// However busy the folder is, a change is looked at after this.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

/// Watches the folders of files. Kubernetes changes a mounted file by exchanging a symbolic link beside it, and
/// most tools replace the file: a watch on the file itself would miss both.
pub struct FileWatch {
    watcher: RecommendedWatcher,
    files: Arc<RwLock<BTreeSet<PathBuf>>>,
    folders: BTreeSet<PathBuf>,
    events: mpsc::Receiver<()>,
}

impl FileWatch {
    pub fn start(files: &[PathBuf]) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(1);
        let watched = Arc::new(RwLock::new(BTreeSet::new()));
        let interesting = Arc::clone(&watched);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_change(&event, &interesting.read())) {
                let _ = sender.try_send(());
            }
        })?;
        let mut watch = Self { watcher, files: watched, folders: BTreeSet::new(), events };
        watch.watch(files);
        Ok(watch)
    }

    /// Watches these files from now on, and no others.
    pub fn watch(&mut self, files: &[PathBuf]) {
        *self.files.write() = files.iter().cloned().collect();
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
        let settled =
            async { while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.recv()).await {} };
        let _ = tokio::time::timeout(QUIET_WAIT_MAX, settled).await;
    }
}

/// Reading a file is no change, else every reload would cause the next; and a log or a state file beside the
/// configuration is none either. `..data` is the link that Kubernetes exchanges.
fn is_change(event: &notify::Event, files: &BTreeSet<PathBuf>) -> bool {
    let is_of_interest = |path: &PathBuf| files.contains(path) || path.ends_with("..data");
    !event.kind.is_access() && event.paths.iter().any(is_of_interest)
}
