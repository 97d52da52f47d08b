use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use walkdir::WalkDir;

use super::changes::WatchStop;
use crate::AgentHomes;

/// The folders with sessions, and the files in them.
pub(super) struct Folders {
    folders: Vec<Folder>,
    /// `None` if the system gives no notifications. The files are then looked at more often.
    watcher: Option<RecommendedWatcher>,
    seen: HashMap<PathBuf, Stamp>,
}

struct Folder {
    /// The path that the caller named.
    root: PathBuf,
    path: PathBuf,
    /// Its real path while it is followed, which some systems give in notifications.
    real: PathBuf,
    /// The folder that is followed. Another one may have taken its name.
    followed: Option<Id>,
}

/// The device and the inode of a folder.
type Id = (u64, u64);

/// The state of a file. With another size or time it has changed.
type Stamp = (u64, Option<SystemTime>);

impl Folders {
    /// Follows nothing yet. Changes will be added to `changes`.
    pub(super) fn new(
        roots: &[PathBuf],
        homes: &AgentHomes,
        changes: &WatchStop,
    ) -> (Self, notify::Result<()>) {
        let folders = roots.iter().flat_map(|root| {
            let paths = session_folders(root, homes);
            paths.into_iter().map(|path| Folder {
                root: root.clone(),
                real: path.clone(),
                path,
                followed: None,
            })
        });
        let changes = changes.clone();
        // A link may lead anywhere.
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(move |event| changes.add(event), config);
        let (watcher, result) = match watcher {
            Ok(watcher) => (Some(watcher), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let folders = Self {
            folders: folders.collect(),
            watcher,
            seen: HashMap::new(),
        };
        (folders, result)
    }

    /// Follows the folders that have appeared, and returns their roots. Fails if the system gives no more
    /// notifications, now and later.
    pub(super) fn follow_new(&mut self) -> (BTreeSet<PathBuf>, notify::Result<()>) {
        let mut roots = BTreeSet::new();
        let mut result = Ok(());
        for folder in &mut self.folders {
            let now = fs::metadata(&folder.path).ok().map(|it| id_of(&it));
            if now == folder.followed {
                continue;
            }
            if let Some(watcher) = &mut self.watcher {
                // Also a folder that is gone, and no longer watched.
                let _ = watcher.unwatch(&folder.path);
                let watched = match now {
                    Some(_) => watcher.watch(&folder.path, RecursiveMode::Recursive),
                    None => Ok(()),
                };
                match watched {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => continue,
                    Err(error) => {
                        self.watcher = None;
                        result = Err(error);
                    }
                }
            }
            folder.real = fs::canonicalize(&folder.path).unwrap_or_else(|_| folder.path.clone());
            folder.followed = now;
            roots.extend(now.map(|_| folder.root.clone()));
        }
        (roots, result)
    }

    /// Whether the system tells of changes.
    pub(super) fn has_notifications(&self) -> bool {
        self.watcher.is_some()
    }

    /// Looks at all files, and returns those that are new or have changed.
    pub(super) fn look(&mut self) -> BTreeSet<PathBuf> {
        let mut seen = HashMap::with_capacity(self.seen.len());
        for folder in &self.folders {
            seen.extend(files(&folder.path));
        }
        let changed = seen
            .iter()
            .filter(|(path, stamp)| self.seen.get(*path) != Some(*stamp))
            .map(|(path, _)| path.clone())
            .collect();
        self.seen = seen;
        changed
    }

    /// Looks at a path that has changed, and returns its files: itself, or those of a folder.
    pub(super) fn look_at(&mut self, path: &Path) -> Vec<PathBuf> {
        let files: Vec<_> = files(path).collect();
        self.seen.extend(files.iter().cloned());
        files.into_iter().map(|(path, _)| path).collect()
    }

    /// Makes the next look return a file again.
    pub(super) fn forget(&mut self, path: &Path) {
        self.seen.remove(path);
    }

    /// Returns the roots of the folders that are followed.
    pub(super) fn roots(&self) -> impl Iterator<Item = PathBuf> {
        let followed = self
            .folders
            .iter()
            .filter(|folder| folder.followed.is_some());
        followed.map(|folder| folder.root.clone())
    }

    /// Returns the root of a file, as the caller named it.
    pub(super) fn root_of(&self, path: &Path) -> Option<&Path> {
        let mut folders = self.folders.iter();
        let folder = folders
            .find(|folder| path.starts_with(&folder.path) || path.starts_with(&folder.real))?;
        Some(&folder.root)
    }
}

/// Returns the folders with sessions of a home, or else the folder itself.
fn session_folders(root: &Path, homes: &AgentHomes) -> Vec<PathBuf> {
    let names: &[&str] = match root {
        _ if root == homes.claude => &["projects"],
        _ if root == homes.codex => &["sessions", "archived_sessions"],
        _ if root == homes.goose => &["sessions"],
        _ => return vec![root.to_owned()],
    };
    names.iter().map(|name| root.join(name)).collect()
}

fn files(path: &Path) -> impl Iterator<Item = (PathBuf, Stamp)> + use<> {
    // A file may be gone already, a folder unreadable.
    let entries = WalkDir::new(path).into_iter().flatten();
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        let stamp = (metadata.len(), metadata.modified().ok());
        Some((entry.into_path(), stamp))
    })
}

#[cfg(unix)]
fn id_of(folder: &Metadata) -> Id {
    use std::os::unix::fs::MetadataExt;
    (folder.dev(), folder.ino())
}

#[cfg(not(unix))]
fn id_of(_: &Metadata) -> Id {
    (0, 0)
}
