use turnkeep_model::{BackendType, NewSession, Session, SessionId, SessionRevision, TaskId};

use crate::api::repo::Repo;
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::store::on_engine;

/// Which agent session a task is bound to, and which it once was.
///
/// Every method may also fail for the reasons any call has: [`ErrorKind::Busy`], [`ErrorKind::Full`],
/// [`ErrorKind::ReadOnly`], [`ErrorKind::Io`], [`ErrorKind::Corrupt`], [`ErrorKind::NoConnection`]; on a server also
/// [`ErrorKind::Unavailable`], and what writes [`ErrorKind::OutcomeUnknown`].
impl Repo {
    /// Binds the task to an agent session, in place of any other, and returns the binding as it
    /// is stored.
    ///
    /// Backend, session id and working folder are one value. If any of them differs from the
    /// current binding, the current one is retired (reason [`SessionRevision::REPLACED`]) and the
    /// new one goes on record as the next revision, in one transaction. Saving the very same
    /// binding again writes nothing and changes no time.
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist.
    ///
    /// ```
    /// use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// let task = TaskId::new("t1")?;
    /// repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Claude, SessionId::new("a")?))?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Claude, SessionId::new("b")?))?;
    /// assert_eq!(repo.get_session(&task)?.session_id.as_str(), "b");
    /// assert_eq!(repo.list_session_revisions(&task)?.len(), 2, "`a` can still be found");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_session(&self, task_id: &TaskId, binding: &NewSession) -> Result<Session> {
        on_engine!(self.store, engine, ops => engine.writer.write(ops::session::SaveSession {
            task_id: task_id.clone(),
            binding: binding.clone(),
        }))
    }

    /// Returns the current binding of the task.
    ///
    /// # Errors
    /// [`ErrorKind::SessionNotFound`] when it has none.
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId, ErrorKind};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Codex, SessionId::new("a")?))?;
    /// assert_eq!(repo.get_session(&task)?.backend_type, BackendType::Codex);
    ///
    /// let none = repo.get_session(&TaskId::new("t2")?);
    /// assert!(matches!(none.unwrap_err().kind(), ErrorKind::SessionNotFound));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_session(&self, task_id: &TaskId) -> Result<Session> {
        self.session("get_session", task_id)
    }

    /// Returns the current binding of the task, or `None` when it has none.
    ///
    /// # Errors
    /// Only those that any call may have.
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// assert!(repo.find_session(&task)?.is_none());
    /// repo.save_session(&task, &NewSession::new(BackendType::Codex, SessionId::new("a")?))?;
    /// assert!(repo.find_session(&task)?.is_some());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn find_session(&self, task_id: &TaskId) -> Result<Option<Session>> {
        let call = Operation::on_task("find_session", task_id);
        on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::session::find(conn, task_id)?)))
    }

    /// Returns the current binding of the task, which must belong to `backend`: for adapters
    /// that can resume no other.
    ///
    /// # Errors
    /// [`ErrorKind::SessionNotFound`] when the task has no binding, [`ErrorKind::BackendMismatch`] when
    /// it is another agent's.
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, ErrorKind, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Goose, SessionId::new("a")?))?;
    /// let refused = repo.get_session_for_backend(&task, &BackendType::Codex);
    /// assert!(matches!(refused.unwrap_err().kind(), ErrorKind::BackendMismatch { .. }));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_session_for_backend(
        &self,
        task_id: &TaskId,
        backend: &BackendType,
    ) -> Result<Session> {
        const OPERATION: &str = "get_session_for_backend";
        let session = self.session(OPERATION, task_id)?;
        if session.backend_type == *backend {
            return Ok(session);
        }
        Err(ErrorKind::BackendMismatch {
            expected: backend.clone(),
            actual: session.backend_type,
        }
        .on(&Operation::on_task(OPERATION, task_id)))
    }

    /// Returns the current bindings of all tasks, in order of their task ids.
    ///
    /// # Errors
    /// Only those that any call may have.
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Codex, SessionId::new("a")?))?;
    /// for session in repo.list_sessions()? {
    ///     println!("{} is bound to {}", session.task_id, session.session_id);
    /// }
    /// # assert_eq!(repo.list_sessions()?.len(), 1);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn list_sessions(&self) -> Result<Vec<Session>> {
        let call = Operation::on_store("list_sessions");
        on_engine!(self.store, engine, ops => engine.read(call, |conn| ops::session::list(conn, call)))
    }

    /// Returns every binding the task ever had, the first one first. Empty when it never had
    /// one, also for a task that does not exist.
    ///
    /// # Errors
    /// Only those that any call may have.
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Codex, SessionId::new("a")?))?;
    /// let revisions = repo.list_session_revisions(&task)?;
    /// assert_eq!(revisions[0].revision, 1);
    /// assert!(revisions[0].retired_at.is_none(), "the current one");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn list_session_revisions(&self, task_id: &TaskId) -> Result<Vec<SessionRevision>> {
        let call = Operation::on_task("list_session_revisions", task_id);
        on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::session::list_revisions(conn, task_id)?)))
    }

    /// Removes the current binding of the task, but only if it still is `session_id`: whoever
    /// found a session dead can't remove the live one that replaced it meanwhile.
    ///
    /// Returns whether it did. The binding stays on record with the time and the reason. Calling
    /// again changes nothing and returns `false`, as for a task without a binding.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the reason is longer than
    /// [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES).
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let dead = SessionId::new("dead")?;
    /// repo.save_session(&task, &NewSession::new(BackendType::Claude, dead.clone()))?;
    /// assert!(repo.retire_session(&task, &dead, "No conversation found")?);
    /// assert!(repo.find_session(&task)?.is_none());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn retire_session(
        &self,
        task_id: &TaskId,
        session_id: &SessionId,
        reason: &str,
    ) -> Result<bool> {
        on_engine!(self.store, engine, ops => engine.writer.write(ops::session::RetireSession {
            task_id: task_id.clone(),
            session_id: session_id.clone(),
            reason: reason.to_owned(),
        }))
    }

    fn session(&self, operation: &'static str, task_id: &TaskId) -> Result<Session> {
        let call = Operation::on_task(operation, task_id);
        let session = on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::session::find(conn, task_id)?)))?;
        session.ok_or_else(|| ErrorKind::SessionNotFound.on(&call))
    }
}
