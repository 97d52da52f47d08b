use turnkeep_model::{BackendType, NewSession, Session, SessionId, SessionRevision, TaskId};

use super::AsyncRepo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::store::on_engine;

/// Which agent session a task is bound to, and which it once was. Order, atomicity, errors and repeats are as
/// for the methods of the same names of [`Repo`](crate::Repo).
///
/// ```
/// # use turnkeep_repo::{AsyncRepo, BackendType, NewSession, NewTask, SessionId, TaskId};
/// # #[tokio::main]
/// # async fn main() -> turnkeep_repo::Result<()> {
/// let repo = AsyncRepo::open_in_memory().await?;
/// let task = TaskId::new("t1")?;
/// repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
/// let id = SessionId::new("6f1d2c3b")?;
/// repo.save_session(&task, &NewSession::new(BackendType::Claude, id.clone())).await?;
/// assert_eq!(repo.get_session(&task).await?.session_id, id);
/// assert!(repo.retire_session(&task, &id, "No conversation found").await?);
/// assert!(repo.find_session(&task).await?.is_none());
/// assert_eq!(repo.list_session_revisions(&task).await?.len(), 1);
/// # Ok(())
/// # }
/// ```
impl AsyncRepo {
    /// Binds the task to an agent session, in place of any other. See
    /// [`Repo::save_session`](crate::Repo::save_session).
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist.
    pub async fn save_session(&self, task_id: &TaskId, binding: &NewSession) -> Result<Session> {
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::session::SaveSession {
            task_id: task_id.clone(),
            binding: binding.clone(),
        }).await)
    }

    /// Returns the current binding of the task. See
    /// [`Repo::get_session`](crate::Repo::get_session).
    ///
    /// # Errors
    /// [`ErrorKind::SessionNotFound`] when it has none.
    pub async fn get_session(&self, task_id: &TaskId) -> Result<Session> {
        let task_id = task_id.clone();
        self.block("get_session", move |repo| repo.get_session(&task_id))
            .await
    }

    /// Returns the current binding of the task, or `None`. See
    /// [`Repo::find_session`](crate::Repo::find_session).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn find_session(&self, task_id: &TaskId) -> Result<Option<Session>> {
        let task_id = task_id.clone();
        self.block("find_session", move |repo| repo.find_session(&task_id))
            .await
    }

    /// Returns the current binding of the task, which must belong to `backend`. See
    /// [`Repo::get_session_for_backend`](crate::Repo::get_session_for_backend).
    ///
    /// # Errors
    /// [`ErrorKind::SessionNotFound`] when the task has no binding,
    /// [`ErrorKind::BackendMismatch`] when it is another agent's.
    pub async fn get_session_for_backend(
        &self,
        task_id: &TaskId,
        backend: &BackendType,
    ) -> Result<Session> {
        let (task_id, backend) = (task_id.clone(), backend.clone());
        self.block("get_session_for_backend", move |repo| {
            repo.get_session_for_backend(&task_id, &backend)
        })
        .await
    }

    /// Returns the current bindings of all tasks. See
    /// [`Repo::list_sessions`](crate::Repo::list_sessions).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn list_sessions(&self) -> Result<Vec<Session>> {
        self.block("list_sessions", |repo| repo.list_sessions())
            .await
    }

    /// Returns every binding the task ever had. See
    /// [`Repo::list_session_revisions`](crate::Repo::list_session_revisions).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn list_session_revisions(&self, task_id: &TaskId) -> Result<Vec<SessionRevision>> {
        let task_id = task_id.clone();
        self.block("list_session_revisions", move |repo| {
            repo.list_session_revisions(&task_id)
        })
        .await
    }

    /// Removes the current binding of the task if it still is `session_id`; returns whether it
    /// did. See [`Repo::retire_session`](crate::Repo::retire_session).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the reason is longer than
    /// [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES).
    pub async fn retire_session(
        &self,
        task_id: &TaskId,
        session_id: &SessionId,
        reason: &str,
    ) -> Result<bool> {
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::session::RetireSession {
            task_id: task_id.clone(),
            session_id: session_id.clone(),
            reason: reason.to_owned(),
        }).await)
    }
}
