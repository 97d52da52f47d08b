use turnkeep_model::{BackendType, NewSession, Session, SessionId, SessionRevision, TaskId};

use crate::api::repo::Repo;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::target::Target;
use crate::store::{on_engine, write_op};

/// The agent session that a task is bound to, and the record of earlier ones.
impl Repo {
    /// Binds the task to an agent session in place of any other, and returns the stored binding.
    ///
    /// Backend, session id, both folders and metadata form one value. If any of them differs from the
    /// current binding, that binding is retired (reason [`SessionRevision::REPLACED`]) and the new
    /// one becomes the next revision, in one transaction. Saving an equal binding again writes no
    /// row and keeps all times. Metadata are compared byte for byte, so make them with an order of keys that
    /// stays ([`Metadata::from_serialize`](crate::Metadata::from_serialize)).
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
        let (target, binding) = (Target::new(task_id, None), binding.clone());
        write_op!(self.store => ops::session::SaveSession { target, binding })
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
        let call = Operation::on_task("get_session", task_id);
        let session = on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::session::find(conn, task_id)?)))?;
        found(session, call)
    }

    /// Returns the current binding of the task, or `None` when it has none.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
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

    /// Returns the task that is bound to this session of the agent. If none is, the task that was bound
    /// to it last, or `None` when no task ever was. Of several tasks it returns the one that was bound
    /// last.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let id = SessionId::new("6f1d2c3b")?;
    /// assert_eq!(repo.find_task_by_session(&BackendType::Claude, &id)?, None);
    /// repo.save_session(&task, &NewSession::new(BackendType::Claude, id.clone()))?;
    /// assert_eq!(repo.find_task_by_session(&BackendType::Claude, &id)?, Some(task));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn find_task_by_session(
        &self,
        backend: &BackendType,
        session_id: &SessionId,
    ) -> Result<Option<TaskId>> {
        let call = Operation::on_store("find_task_by_session");
        on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(first(ops::session::tasks_of(conn, backend, session_id)?))))
    }

    /// Returns the tasks that are bound to this session of the agent, and then those that were. Each part begins
    /// with the task that was bound last. Sessions of two machines may have the same id: Goose counts them anew in
    /// each database.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// let id = SessionId::new("20261001_1")?;
    /// let tasks = [TaskId::new("t1")?, TaskId::new("t2")?];
    /// for task in &tasks {
    ///     repo.save_task(&NewTask::new(task.clone(), "T"))?;
    ///     repo.save_session(task, &NewSession::new(BackendType::Goose, id.clone()))?;
    /// }
    /// repo.retire_session(&tasks[1], &id, "ended")?;
    /// assert_eq!(repo.list_tasks_by_session(&BackendType::Goose, &id)?, tasks);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn list_tasks_by_session(
        &self,
        backend: &BackendType,
        session_id: &SessionId,
    ) -> Result<Vec<TaskId>> {
        let call = Operation::on_store("list_tasks_by_session");
        on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::session::tasks_of(conn, backend, session_id)?)))
    }

    /// Returns the current binding of the task if it belongs to `backend`, for an adapter of one
    /// agent.
    ///
    /// # Errors
    /// [`ErrorKind::SessionNotFound`] when the task has no binding, [`ErrorKind::BackendMismatch`]
    /// when the binding belongs to another agent.
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
        let call = Operation::on_task("get_session_for_backend", task_id);
        let session = on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::session::find(conn, task_id)?)))?;
        of_backend(found(session, call)?, backend, call)
    }

    /// Returns the current bindings of all tasks, by ascending task id.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
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

    /// Returns all bindings that the task ever had, by ascending revision. Empty for a task without
    /// bindings or one that does not exist.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
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

    /// Ends the current binding of the task if it still is `session_id`, so that a newer session is
    /// never removed by mistake. Returns whether it did.
    ///
    /// The binding stays on record with the time and the reason. A second call returns `false` and
    /// changes no row, as for a task without a binding.
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
        write_op!(self.store => ops::session::RetireSession {
            target: Target::new(task_id, None),
            session_id: session_id.clone(),
            reason: reason.to_owned(),
        })
    }
}

// A read that finds no row has succeeded: the store counts and checks it as any other. The error is made of
// its result.
fn found(session: Option<Session>, call: Operation<'_>) -> Result<Session> {
    session.ok_or_else(|| ErrorKind::SessionNotFound.on(&call))
}

fn first(tasks: Vec<TaskId>) -> Option<TaskId> {
    tasks.into_iter().next()
}

fn of_backend(session: Session, backend: &BackendType, call: Operation<'_>) -> Result<Session> {
    if session.backend_type == *backend {
        return Ok(session);
    }
    let mismatch = ErrorKind::BackendMismatch {
        expected: backend.clone(),
        actual: session.backend_type,
    };
    Err(mismatch.on(&call))
}

methods! {
    /// The agent session that a task is bound to, and the record of earlier ones.
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
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        writes:
        /// Binds the task to an agent session in place of any other.
        fn save_session(&self, task_id: &TaskId, binding: &NewSession) -> Result<Session>
            = ops::session::SaveSession {
                target: Target::new(task_id, None),
                binding: binding.clone(),
            };
        /// Ends the current binding of the task if it still is `session_id`, and returns whether it did.
        fn retire_session(&self, task_id: &TaskId, session_id: &SessionId, reason: &str) -> Result<bool>
            = ops::session::RetireSession {
                target: Target::new(task_id, None),
                session_id: session_id.clone(),
                reason: reason.to_owned(),
            };
        reads(conn, call):
        /// Returns the current binding of the task.
        fn get_session(&self, task_id: &TaskId) -> Result<Session>
            = on_task(task_id) => Ok(found(ops::session::find(conn, task_id)?, call)?);
        /// Returns the current binding of the task, or `None` when it has none.
        fn find_session(&self, task_id: &TaskId) -> Result<Option<Session>>
            = on_task(task_id) => Ok(ops::session::find(conn, task_id)?);
        /// Returns the current binding of the task if it belongs to `backend`.
        fn get_session_for_backend(&self, task_id: &TaskId, backend: &BackendType) -> Result<Session>
            = on_task(task_id) => Ok(of_backend(found(ops::session::find(conn, task_id)?, call)?, backend, call)?);
        /// Returns the task that is bound to this session of the agent, or was bound to it last.
        fn find_task_by_session(&self, backend: &BackendType, session_id: &SessionId) -> Result<Option<TaskId>>
            = on_store() => Ok(first(ops::session::tasks_of(conn, backend, session_id)?));
        /// Returns the tasks that are bound to this session of the agent, and then those that were.
        fn list_tasks_by_session(&self, backend: &BackendType, session_id: &SessionId) -> Result<Vec<TaskId>>
            = on_store() => Ok(ops::session::tasks_of(conn, backend, session_id)?);
        /// Returns the current bindings of all tasks, by ascending task id.
        fn list_sessions(&self) -> Result<Vec<Session>>
            = on_store() => ops::session::list(conn, call);
        /// Returns all bindings that the task ever had, by ascending revision.
        fn list_session_revisions(&self, task_id: &TaskId) -> Result<Vec<SessionRevision>>
            = on_task(task_id) => Ok(ops::session::list_revisions(conn, task_id)?);
    }
}
