use std::fmt;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use turnkeep_repo::{AsyncRepo, RepoBuilder};

/// An [`AsyncRepo`] with blocking methods, so that the rules can run on it.
///
/// All handles of a process share one runtime, as in a host.
///
/// ```
/// use turnkeep_conformance::{Blocking, Options, Store};
///
/// # let folder = tempfile::tempdir()?;
/// let repo = Blocking::open(Options::new().builder(folder.path().join("store.db")))?;
/// assert!(repo.get_tasks()?.is_empty());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone)]
pub struct Blocking {
    /// `None` only during `drop`.
    repo: Option<AsyncRepo>,
}

impl Blocking {
    /// Opens the store with [`RepoBuilder::open_async`].
    ///
    /// # Errors
    /// See [`RepoBuilder::open_async`].
    pub fn open(builder: RepoBuilder) -> turnkeep_repo::Result<Self> {
        Ok(wait(builder.open_async())?.into())
    }

    /// Opens an empty store in memory. See [`AsyncRepo::open_in_memory`].
    ///
    /// # Errors
    /// See [`AsyncRepo::open_in_memory`].
    pub fn open_in_memory() -> turnkeep_repo::Result<Self> {
        Ok(wait(AsyncRepo::open_in_memory())?.into())
    }

    #[expect(clippy::expect_used, reason = "only drop takes it")]
    pub(crate) fn inner(&self) -> &AsyncRepo {
        self.repo.as_ref().expect("a store that was not dropped")
    }
}

impl From<AsyncRepo> for Blocking {
    fn from(repo: AsyncRepo) -> Self {
        Self { repo: Some(repo) }
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repo.fmt(f)
    }
}

impl Drop for Blocking {
    /// Closes the handle with [`AsyncRepo::close`], as async code does.
    fn drop(&mut self) {
        if let Some(repo) = self.repo.take() {
            wait(repo.close());
        }
    }
}

/// Drives a future to its end on the caller's thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    #[expect(clippy::expect_used, reason = "a test cannot go on without threads")]
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(2).enable_time();
        builder.build().expect("a runtime")
    });
    RUNTIME.block_on(future)
}
