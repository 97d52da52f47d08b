use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use turnkeep_repo::{AsyncRepo, Durability, Result};

use crate::{Repo, wait};

/// The settings of the store, opened with `open_async`.
#[derive(Debug, Clone)]
pub struct RepoBuilder(turnkeep_repo::RepoBuilder);

impl RepoBuilder {
    pub(crate) fn new(path: impl AsRef<Path>) -> Self {
        Self(AsyncRepo::builder(path))
    }

    pub fn timeout(self, timeout: Duration) -> Self {
        Self(self.0.timeout(timeout))
    }

    pub fn durability(self, durability: Durability) -> Self {
        Self(self.0.durability(durability))
    }

    pub fn readers(self, readers: u32) -> Self {
        Self(self.0.readers(readers))
    }

    pub fn create_if_missing(self, create: bool) -> Self {
        Self(self.0.create_if_missing(create))
    }

    pub fn clock(self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(self.0.clock(clock))
    }

    pub fn open(self) -> Result<Repo> {
        Ok(wait(self.0.open_async())?.into())
    }
}
