//! Where the store is, a file or a server, and when it may be made.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use etcetera::BaseStrategy;
use turnkeep_repo::{CheckReport, Repo, RepoBuilder, Restored};

/// The place of the store, as the user gave it: a path, or the address of a server, which may hold
/// a password and is never printed. Nothing is touched before it is opened.
pub(crate) struct Store {
    path: Option<PathBuf>,
    /// A role that may own it, on a server.
    owner: Option<String>,
}

impl Store {
    /// Nobody waits for what goes over all of a store, and others may do so as well.
    const PATIENCE: Duration = Duration::from_secs(60);

    pub(crate) fn new(path: Option<PathBuf>, owner: Option<String>) -> Self {
        Self { path, owner }
    }

    /// Opens the store, which must exist: a command that has nothing to put into one makes none.
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

    /// Puts a backup in the place of the store.
    pub(crate) fn restore(self, backup: &Path) -> anyhow::Result<Restored> {
        Ok(self.builder()?.restore(backup)?)
    }

    /// Looks at the store without opening it for writing.
    pub(crate) fn check(self) -> anyhow::Result<CheckReport> {
        Ok(self.builder()?.check()?)
    }

    fn builder(self) -> anyhow::Result<RepoBuilder> {
        let builder = Repo::builder(path(self.path)?);
        Ok(match self.owner {
            Some(owner) => builder.owner(owner),
            None => builder,
        })
    }
}

fn path(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    // An empty variable is as good as none.
    let variable = || env::var_os("TURNKEEP_DB").filter(|path| !path.is_empty());
    if let Some(path) = given.or_else(|| variable().map(PathBuf::from)) {
        return Ok(path);
    }
    let folders = etcetera::choose_base_strategy()
        .context("cannot tell where your data folder is, name a store with `--db`")?;
    Ok(folders.data_dir().join("turnkeep").join("turnkeep.db"))
}
