//! Notices when a file of the configuration changes: in place, replaced, or behind a symbolic link or a folder that
//! is exchanged, as Kubernetes, certificate clients and deployments do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::RwLock;
use tokio::sync::mpsc;

/// Editors and tools write in several steps; a change is looked at when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);

/// However busy the folder is, a change is looked at after this.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

/// As many as Linux follows.
const SYMBOLIC_LINKS_MAX: usize = 40;

/// Watches folders, not files: most tools replace a file, which a watch on the file itself would miss.
pub struct FileWatch {
    watcher: RecommendedWatcher,
    /// Every name whose change can change a file.
    places: Arc<RwLock<BTreeSet<PathBuf>>>,
    folders: BTreeMap<PathBuf, Option<FolderIdentity>>,
    events: mpsc::Receiver<()>,
}

/// Device and inode: another folder can have got the name of one that is watched.
type FolderIdentity = (u64, u64);

impl FileWatch {
    pub fn start(files: &[PathBuf]) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(1);
        let places = Arc::new(RwLock::new(BTreeSet::new()));
        let interesting = Arc::clone(&places);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_change(&event, &interesting.read())) {
                let _ = sender.try_send(());
            }
        })?;
        let mut watch = Self { watcher, places, folders: BTreeMap::new(), events };
        watch.watch(files);
        Ok(watch)
    }

    /// Watches these files from now on, and no others. To be called again after each change, which may have led
    /// their names to other places.
    pub fn watch(&mut self, files: &[PathBuf]) {
        let places: BTreeSet<_> = files.iter().flat_map(|file| places(file)).collect();
        let folders: BTreeMap<_, _> = places
            .iter()
            .filter_map(|place| place.parent())
            .map(|folder| (folder.to_owned(), identity(folder)))
            .collect();
        *self.places.write() = places;
        let before = std::mem::take(&mut self.folders);
        for (old, _) in before.iter().filter(|(folder, identity)| folders.get(*folder) != Some(*identity)) {
            // Fails for a folder that is gone, which the system has stopped to watch already.
            let _ = self.watcher.unwatch(old);
        }
        for (folder, identity) in folders {
            if before.get(&folder) != Some(&identity)
                && let Err(error) = self.watcher.watch(&folder, RecursiveMode::NonRecursive)
            {
                let folder = folder.display();
                tracing::warn!(reason = %error, "cannot watch {folder}; after a change there, send SIGHUP");
                continue;
            }
            self.folders.insert(folder, identity);
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
/// configuration is none either.
fn is_change(event: &notify::Event, places: &BTreeSet<PathBuf>) -> bool {
    !event.kind.is_access() && event.paths.iter().any(|path| places.contains(path))
}

fn identity(folder: &Path) -> Option<FolderIdentity> {
    std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The file itself, the folder it is in, and every symbolic link on the way; each by a path without links.
fn places(file: &Path) -> Vec<PathBuf> {
    let (mut places, mut links) = (Vec::new(), 0);
    let mut ahead: VecDeque<OsString> = names(file).collect();
    let mut place = PathBuf::from("/");
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            place.pop();
            continue;
        }
        place.push(name);
        let Ok(target) = std::fs::read_link(&place) else { continue };
        links += 1;
        places.push(place.clone());
        if links > SYMBOLIC_LINKS_MAX {
            return places;
        }
        if target.is_absolute() {
            place = PathBuf::from("/");
        } else {
            place.pop();
        }
        names(&target).rev().for_each(|name| ahead.push_front(name));
    }
    places.extend(place.parent().map(Path::to_owned));
    places.push(place);
    places
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::time::Duration;

    use super::{FileWatch, QUIET_WAIT_MAX};

    /// A folder with the file `tls/server.pem`, watched.
    struct Watched {
        folder: tempfile::TempDir,
        watch: FileWatch,
    }

    impl Watched {
        fn new(arrange: impl Fn(&Path)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            arrange(folder.path());
            let watch = FileWatch::start(&[folder.path().join("tls/server.pem")]).unwrap();
            Self { folder, watch }
        }

        /// Whether this is noticed as a change.
        async fn notices(&mut self, change: impl Fn(&Path)) -> bool {
            change(self.folder.path());
            let noticed = tokio::time::timeout(QUIET_WAIT_MAX * 2, self.watch.changed()).await.is_ok();
            self.watch.watch(&[self.folder.path().join("tls/server.pem")]);
            noticed
        }
    }

    fn plain(folder: &Path) {
        fs::create_dir(folder.join("tls")).unwrap();
        fs::write(folder.join("tls/server.pem"), "1").unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_removed_or_closed_to_others_has_changed() {
        let mut watched = Watched::new(plain);
        let changes: [fn(&Path); 4] = [
            |folder| fs::write(folder.join("tls/server.pem"), "2").unwrap(),
            |folder| {
                fs::write(folder.join("tls/new"), "3").unwrap();
                fs::rename(folder.join("tls/new"), folder.join("tls/server.pem")).unwrap();
            },
            |folder| {
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(folder.join("tls/server.pem"), mode).unwrap();
            },
            |folder| fs::remove_file(folder.join("tls/server.pem")).unwrap(),
        ];
        for change in changes {
            assert!(watched.notices(change).await);
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_exchanged_has_changed_and_is_watched_again() {
        let mut watched = Watched::new(plain);
        for _ in 0..2 {
            assert!(
                watched
                    .notices(|folder| {
                        fs::create_dir(folder.join("new")).unwrap();
                        fs::write(folder.join("new/server.pem"), "2").unwrap();
                        fs::rename(folder.join("tls"), folder.join("old")).unwrap();
                        fs::rename(folder.join("new"), folder.join("tls")).unwrap();
                        fs::remove_dir_all(folder.join("old")).unwrap();
                    })
                    .await
            );
            assert!(watched.notices(|folder| fs::write(folder.join("tls/server.pem"), "3").unwrap()).await);
        }
    }

    /// `tls` leads to `releases/1`, and `server.pem` there to `..data/server.pem` beside it, as in Kubernetes.
    fn linked(folder: &Path) {
        for release in ["1", "2"] {
            let release = folder.join("releases").join(release);
            for version in ["v1", "v2"] {
                fs::create_dir_all(release.join(version)).unwrap();
                fs::write(release.join(version).join("server.pem"), version).unwrap();
            }
            symlink("v1", release.join("..data")).unwrap();
            symlink("..data/server.pem", release.join("server.pem")).unwrap();
        }
        symlink(folder.join("releases/1"), folder.join("tls")).unwrap();
    }

    fn relink(target: &str, link: &Path) {
        let new = link.with_file_name("new");
        symlink(target, &new).unwrap();
        fs::rename(new, link).unwrap();
    }

    #[tokio::test]
    async fn every_link_on_the_way_counts_and_so_does_the_file_at_its_end() {
        let mut watched = Watched::new(linked);
        let changes: [fn(&Path); 4] = [
            |folder| fs::write(folder.join("releases/1/v1/server.pem"), "3").unwrap(),
            |folder| relink("v2", &folder.join("releases/1/..data")),
            |folder| relink("releases/2", &folder.join("tls")),
            |folder| fs::write(folder.join("releases/2/v1/server.pem"), "4").unwrap(),
        ];
        for change in changes {
            assert!(watched.notices(change).await);
        }
    }

    #[tokio::test]
    async fn reading_and_what_lies_beside_is_no_change() {
        let mut watched = Watched::new(plain);
        fs::read(watched.folder.path().join("tls/server.pem")).unwrap();
        fs::write(watched.folder.path().join("tls/log"), "line").unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(500), watched.watch.changed()).await;
        assert!(quiet.is_err());
    }

    #[tokio::test]
    async fn a_circle_of_links_ends() {
        let watched = Watched::new(|folder| {
            symlink("server.pem", folder.join("tls")).unwrap();
            symlink("tls", folder.join("server.pem")).unwrap();
        });
        assert!(!watched.watch.folders.is_empty());
    }
}
