use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    AsyncClaimedTask, AsyncRepo, BackendType, Claim, ConversationTurn, HistoryPage, NewMessage,
    NewSession, NewTask, Prune, PruneReport, RepoBuilder, Role, Session, SessionId,
    SessionRevision, StatusUpdate, Task, TaskId, Usage, WorkerId,
};

use crate::store::forward;

/// An [`AsyncRepo`] as blocking code would have it, so that it can be held against the rules.
///
/// All of one process are driven by one runtime, as in a host.
///
/// ```
/// use turnkeep_conformance::{Blocking, Options, Store};
///
/// # let folder = tempfile::tempdir()?;
/// let repo = Blocking::open(Options::new().builder(folder.path().join("store.db")))?;
/// assert!(repo.list_tasks()?.is_empty());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone)]
pub struct Blocking {
    /// `None` only while it is dropped.
    inner: Option<AsyncRepo>,
}

impl Blocking {
    /// Opens the store with [`RepoBuilder::open_async`].
    ///
    /// # Errors
    /// Those of [`RepoBuilder::open_async`].
    pub fn open(builder: RepoBuilder) -> turnkeep_repo::Result<Self> {
        Ok(wait(builder.open_async())?.into())
    }

    /// Opens an empty store in memory. See [`AsyncRepo::open_in_memory`].
    ///
    /// # Errors
    /// Those of [`AsyncRepo::open_in_memory`].
    pub fn open_in_memory() -> turnkeep_repo::Result<Self> {
        Ok(wait(AsyncRepo::open_in_memory())?.into())
    }

    #[expect(clippy::expect_used, reason = "only drop takes it")]
    fn inner(&self) -> &AsyncRepo {
        self.inner.as_ref().expect("a store that was not dropped")
    }
}

impl From<AsyncRepo> for Blocking {
    fn from(repo: AsyncRepo) -> Self {
        Self { inner: Some(repo) }
    }
}

forward!(Blocking, |blocking| blocking.inner(), wait, BlockingClaim);

/// An [`AsyncClaimedTask`] as blocking code would have it.
#[derive(Clone, Copy)]
struct BlockingClaim<'a>(AsyncClaimedTask<'a>);

forward!(claimed BlockingClaim<'_>, |task| task.0, wait);

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Drop for Blocking {
    /// Closes as async code does.
    fn drop(&mut self) {
        if let Some(repo) = self.inner.take() {
            wait(repo.close());
        }
    }
}

/// Drives a future of the store to its end, on the caller's thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    #[expect(
        clippy::expect_used,
        reason = "without threads there is no test either"
    )]
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(2).enable_time();
        builder.build().expect("a runtime")
    });
    RUNTIME.block_on(future)
}
