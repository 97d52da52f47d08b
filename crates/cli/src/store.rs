//! Where the store is, a file or a server, and when it may be made.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use etcetera::BaseStrategy;
use turnkeep_repo::{CheckReport, Repo};

/// The place of the store, as the user gave it: a path, or the address of a server, which may hold
/// a password and is never printed. Nothing is touched before it is opened.
pub(crate) struct Store {
    path: Option<PathBuf>,
}

impl Store {
    /// Nobody waits for what goes over all of a store, and others may do so as well.
    const PATIENCE: Duration = Duration::from_secs(60);

    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// Opens the store, which must exist: a command that has nothing to put into one makes none.
    pub(crate) fn open(self) -> anyhow::Result<Repo> {
        let store = Repo::builder(self.path()?).create_if_missing(false);
        Ok(store.open()?)
    }

    pub(crate) fn open_patiently(self) -> anyhow::Result<Repo> {
        let store = Repo::builder(self.path()?).create_if_missing(false);
        Ok(store.timeout(Self::PATIENCE).open()?)
    }

    pub(crate) fn open_or_create(self) -> anyhow::Result<Repo> {
        Ok(Repo::open(self.path()?)?)
    }

    pub(crate) fn open_or_create_patiently(self) -> anyhow::Result<Repo> {
        Ok(Repo::builder(self.path()?).timeout(Self::PATIENCE).open()?)
    }

    /// Looks at the store without opening it for writing.
    pub(crate) fn check(self) -> anyhow::Result<CheckReport> {
        Ok(Repo::builder(self.path()?).check()?)
    }

    fn path(self) -> anyhow::Result<PathBuf> {
        // An empty variable is as good as none.
        let variable = || env::var_os("TURNKEEP_DB").filter(|path| !path.is_empty());
        if let Some(path) = self.path.or_else(|| variable().map(PathBuf::from)) {
            return Ok(path);
        }
        let folders = etcetera::choose_base_strategy()
            .context("cannot tell where your data folder is, name a store with `--db`")?;
        Ok(folders.data_dir().join("turnkeep").join("turnkeep.db"))
    }
}
