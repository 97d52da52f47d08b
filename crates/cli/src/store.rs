//! Finds the store, a file or a server, and opens it.

use std::env;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use etcetera::BaseStrategy;
use turnkeep_repo::{Error, ErrorKind, Repo, RepoBuilder};

use crate::hash::fnv;

/// The longest log in bytes that a command leaves beside a store. Opening reads it twice.
const LONGEST_LEFT: u64 = 512 * 1024;

/// The location of the store, as the user gave it: a path, or the address of a server, which may contain a
/// password and is never printed.
#[derive(Clone)]
pub(crate) struct Store {
    path: Option<PathBuf>,
    /// A trusted owner of the store on a server.
    owner: Option<String>,
}

impl Store {
    /// The timeout of commands that read or write the whole store. Other programs may hold it as long.
    const PATIENCE: Duration = Duration::from_secs(60);

    pub(crate) fn new(path: Option<PathBuf>, owner: Option<String>) -> Self {
        Self { path, owner }
    }

    /// Opens an existing store. Only commands that add data create one.
    pub(crate) fn open(self) -> anyhow::Result<Repo> {
        Ok(self.builder()?.create_if_missing(false).open()?)
    }

    pub(crate) fn open_patiently(self) -> anyhow::Result<Repo> {
        let store = self.builder()?.create_if_missing(false);
        Ok(store.timeout(Self::PATIENCE).open()?)
    }

    pub(crate) fn open_or_create(self) -> anyhow::Result<Repo> {
        Ok(self.builder()?.open()?)
    }

    pub(crate) fn open_or_create_patiently(self) -> anyhow::Result<Repo> {
        Ok(self.builder()?.timeout(Self::PATIENCE).open()?)
    }

    /// Returns the folder of the program in the user's data folder. It may not exist.
    pub(crate) fn default_folder() -> anyhow::Result<PathBuf> {
        let folders =
            etcetera::choose_base_strategy().context("cannot tell where your data folder is")?;
        Ok(folders.data_dir().join("turnkeep"))
    }

    /// Opens the store if there is one.
    pub(crate) fn open_if_there_patiently(self) -> anyhow::Result<Option<Repo>> {
        match self.open_patiently() {
            Ok(repo) => Ok(Some(repo)),
            Err(error) => match error.downcast_ref::<Error>().map(Error::kind) {
                // The file may be empty, because another process is making a store of it.
                Some(ErrorKind::StoreNotFound | ErrorKind::NotAStore { .. }) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Ends a command that has written little without closing the store, if its log is short. The next command goes on
    /// with the log, as after a kill.
    ///
    /// Closing moves the log into the file and deletes it. A script that appends turn by turn would sync five times for
    /// each, to make and to remove a log, instead of twice.
    pub(crate) fn leave(&self, repo: Repo) {
        if repo.stats().wal_bytes <= LONGEST_LEFT && self.owns_log() {
            // The process ends, and its connections with it.
            mem::forget(repo);
        }
    }

    /// Whether the log belongs to the owner of the store. For other users the store would be refused beside it.
    #[cfg(unix)]
    fn owns_log(&self) -> bool {
        use std::os::unix::fs::MetadataExt;

        let owner = |path: &Path| path.metadata().map(|it| it.uid());
        let Ok(store) = path(self.path.clone()).and_then(|path| Ok(path.canonicalize()?)) else {
            return false;
        };
        let owners = [owner(&store), owner(&beside(&store, "-wal"))];
        matches!(owners, [Ok(store), Ok(log)] if store == log)
    }

    #[cfg(not(unix))]
    fn owns_log(&self) -> bool {
        true
    }

    /// Returns where the full-text index of the store may be: beside its file, and in the user's cache folder, under a
    /// name that tells nothing of an address.
    pub(crate) fn index_paths(&self) -> anyhow::Result<Vec<PathBuf>> {
        let store = path(self.path.clone())?;
        let store = store.canonicalize().unwrap_or(store);
        let hash = fnv(store.as_os_str().as_encoded_bytes());
        let folders =
            etcetera::choose_base_strategy().context("cannot tell where your cache folder is")?;
        let folder = folders.cache_dir().join("turnkeep");
        let cached = folder.join(format!("{hash:016x}.search"));
        if is_server(&store) {
            return Ok(vec![cached]);
        }
        Ok(vec![beside(&store, ".search"), cached])
    }

    /// Whether the store is on a server.
    pub(crate) fn is_on_server(&self) -> bool {
        path(self.path.clone()).is_ok_and(|path| is_server(&path))
    }

    pub(crate) fn builder(self) -> anyhow::Result<RepoBuilder> {
        let builder = Repo::builder(path(self.path)?);
        Ok(match self.owner {
            Some(owner) => builder.owner(owner),
            None => builder,
        })
    }
}

fn is_server(store: &Path) -> bool {
    let address = store.to_string_lossy();
    address.starts_with("postgres://") || address.starts_with("postgresql://")
}

fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn path(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    // An empty variable counts as missing.
    let variable = || env::var_os("TURNKEEP_DB").filter(|path| !path.is_empty());
    if let Some(path) = given.or_else(|| variable().map(PathBuf::from)) {
        return Ok(path);
    }
    let folder = Store::default_folder().context("name a store with `--db`")?;
    Ok(folder.join("turnkeep.db"))
}
