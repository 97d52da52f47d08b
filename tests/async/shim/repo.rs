use std::fmt;
use std::path::Path;

use turnkeep_repo::{
    AsyncRepo, BackendType, ConversationTurn, HistoryPage, NewMessage, NewSession, NewTask, Result,
    Role, Session, SessionId, SessionRevision, Stats, StatusUpdate, Task, TaskId,
};

use crate::{RepoBuilder, wait};

/// An `AsyncRepo` with the methods of the blocking one.
#[derive(Clone)]
pub struct Repo {
    /// `None` only while it is dropped.
    inner: Option<AsyncRepo>,
}

impl Repo {
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(wait(AsyncRepo::open(path))?.into())
    }

    pub fn builder(path: impl AsRef<Path>) -> RepoBuilder {
        RepoBuilder::new(path)
    }

    pub fn open_in_memory() -> Result<Self> {
        Ok(wait(AsyncRepo::open_in_memory())?.into())
    }

    pub fn stats(&self) -> Stats {
        self.inner().stats()
    }

    fn inner(&self) -> &AsyncRepo {
        self.inner.as_ref().expect("a repo that was not dropped")
    }
}

macro_rules! methods {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        impl Repo {
            $(
                pub fn $name(&self, $($argument: $type),*) -> Result<$output> {
                    wait(self.inner().$name($($argument),*))
                }
            )*
        }
    };
}

methods! {
    save_task(task: &NewTask) -> ();
    get_task(id: &TaskId) -> Task;
    list_tasks() -> Vec<Task>;
    ready_tasks() -> Vec<Task>;
    update_task_status(id: &TaskId, update: impl Into<StatusUpdate>) -> ();
    claim_task(id: &TaskId) -> bool;
    requeue_running() -> Vec<TaskId>;
    delete_task(id: &TaskId) -> bool;

    save_session(task_id: &TaskId, binding: &NewSession) -> Session;
    get_session(task_id: &TaskId) -> Session;
    find_session(task_id: &TaskId) -> Option<Session>;
    get_session_for_backend(task_id: &TaskId, backend: &BackendType) -> Session;
    list_sessions() -> Vec<Session>;
    list_session_revisions(task_id: &TaskId) -> Vec<SessionRevision>;
    retire_session(task_id: &TaskId, session_id: &SessionId, reason: &str) -> bool;

    save_message(task_id: &TaskId, role: Role, content: &str) -> i64;
    save_messages(task_id: &TaskId, messages: &[NewMessage<'_>]) -> Vec<i64>;
    save_messages_after(
        task_id: &TaskId,
        expected_last_seq: i64,
        messages: &[NewMessage<'_>]
    ) -> Vec<i64>;
    get_history(task_id: &TaskId) -> Vec<ConversationTurn>;
    get_history_last(task_id: &TaskId, count: u32) -> Vec<ConversationTurn>;
    get_history_page(task_id: &TaskId, page: HistoryPage) -> Vec<ConversationTurn>;
    count_history(task_id: &TaskId) -> i64;
}

impl From<AsyncRepo> for Repo {
    fn from(repo: AsyncRepo) -> Self {
        Self { inner: Some(repo) }
    }
}

impl fmt::Debug for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner().fmt(f)
    }
}

impl Drop for Repo {
    /// Closes as async code does.
    fn drop(&mut self) {
        if let Some(repo) = self.inner.take() {
            wait(repo.close());
        }
    }
}
