//! Finds the store, a file or a server, and opens it.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use etcetera::BaseStrategy;
use turnkeep_repo::{Error, ErrorKind, Repo, RepoBuilder};

use crate::hash::fnv;

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
        let mut beside = store.into_os_string();
        beside.push(".search");
        Ok(vec![beside.into(), cached])
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

fn path(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    // An empty variable counts as missing.
    let variable = || env::var_os("TURNKEEP_DB").filter(|path| !path.is_empty());
    if let Some(path) = given.or_else(|| variable().map(PathBuf::from)) {
        return Ok(path);
    }
    let folder = Store::default_folder().context("name a store with `--db`")?;
    Ok(folder.join("turnkeep.db"))
}
