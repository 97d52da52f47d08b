use turnkeep_model::{BackendType, HostName, ImportedFile, RemovedSession, SessionId, TaskId};

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::store::{on_engine, write_op};

/// What imports have read, and sessions that they leave out.
impl Repo {
    /// Deletes the task as [`delete_task`](Self::delete_task) does, for good: in the same transaction each session
    /// that it ever was bound to, and that no other task has, is recorded as removed, so that imports leave it out.
    /// Returns whether the task existed.
    ///
    /// The record keeps the ids of the sessions and of the task. A session that is bound to a task again, by
    /// [`save_session`](Self::save_session) for instance, is no longer removed. A session that is removed twice belongs to
    /// the later task.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # let id = SessionId::new("6f1d2c3b")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// # repo.save_session(&task, &NewSession::new(BackendType::Claude, id.clone()))?;
    /// assert!(repo.remove_task(&task)?);
    /// assert!(repo.is_session_removed(&BackendType::Claude, &id)?);
    /// assert_eq!(repo.list_removed_sessions()?[0].task_id, task);
    /// assert_eq!(repo.lift_removal(&task)?, 1);
    /// assert!(!repo.is_session_removed(&BackendType::Claude, &id)?);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn remove_task(&self, id: &TaskId) -> Result<bool> {
        write_op!(self.store => ops::import::RemoveTask { id: id.clone() })
    }

    /// Makes the sessions of a removed task importable again, and returns how many those were. The task itself is not
    /// restored.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// An example is at [`remove_task`](Self::remove_task).
    pub fn lift_removal(&self, task_id: &TaskId) -> Result<u64> {
        write_op!(self.store => ops::import::LiftRemoval { task_id: task_id.clone() })
    }

    /// Returns all sessions whose tasks were removed, from the latest removal on.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// An example is at [`remove_task`](Self::remove_task).
    pub fn list_removed_sessions(&self) -> Result<Vec<RemovedSession>> {
        let call = Operation::on_store("list_removed_sessions");
        on_engine!(self.store, engine, ops => {
            engine.read(call, |conn| Ok(ops::import::removed_sessions(conn)?))
        })
    }

    /// Returns whether the session belonged to a task that was removed, and no task is bound to it.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// An example is at [`remove_task`](Self::remove_task).
    pub fn is_session_removed(
        &self,
        backend: &BackendType,
        session_id: &SessionId,
    ) -> Result<bool> {
        let call = Operation::on_store("is_session_removed");
        on_engine!(self.store, engine, ops => {
            engine.read(call, |conn| Ok(ops::import::is_removed(conn, backend, session_id)?))
        })
    }

    /// Records what an import has read of a file, in place of what is recorded of the same path on the same host.
    ///
    /// The record is forgotten when the import should read the file again: when a task is deleted that was bound to
    /// the file's session, when the kept files of such a task are dropped, and when a removal of the session ends. A
    /// file of several sessions (without a `session_id`) is forgotten with each session of its agent. Copies and
    /// exports leave the records out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when a field breaks its rule ([`ImportedFile`] has them).
    ///
    /// ```
    /// use turnkeep_repo::{BackendType, HostName, ImportedFile, Repo};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// let host = HostName::new("laptop")?;
    /// let mut file = ImportedFile::new(host.clone(), "/home/dev/session.jsonl", BackendType::Claude);
    /// file.size = 4_711;
    /// repo.save_imported_file(&file)?;
    /// assert_eq!(repo.list_imported_files(&host)?, [file]);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_imported_file(&self, file: &ImportedFile) -> Result<()> {
        write_op!(self.store => ops::import::SaveImportedFile { file: file.clone() })
    }

    /// Returns what imports on this host have read, in order of the paths.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// An example is at [`save_imported_file`](Self::save_imported_file).
    pub fn list_imported_files(&self, host: &HostName) -> Result<Vec<ImportedFile>> {
        let call = Operation::on_store("list_imported_files");
        on_engine!(self.store, engine, ops => {
            engine.read(call, |conn| Ok(ops::import::files_of(conn, host)?))
        })
    }
}

methods! {
    /// What imports have read, and sessions that they leave out.
    ///
    /// ```
    /// # use turnkeep_repo::{AsyncRepo, BackendType, HostName, ImportedFile, NewSession, NewTask, SessionId, TaskId};
    /// # #[tokio::main]
    /// # async fn main() -> turnkeep_repo::Result<()> {
    /// let repo = AsyncRepo::open_in_memory().await?;
    /// # let (task, id) = (TaskId::new("t1")?, SessionId::new("6f1d2c3b")?);
    /// # repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
    /// # repo.save_session(&task, &NewSession::new(BackendType::Claude, id.clone())).await?;
    /// assert!(repo.remove_task(&task).await?);
    /// assert!(repo.is_session_removed(&BackendType::Claude, &id).await?);
    /// assert_eq!(repo.list_removed_sessions().await?[0].session_id, id);
    /// assert_eq!(repo.lift_removal(&task).await?, 1);
    ///
    /// let host = HostName::new("laptop")?;
    /// let file = ImportedFile::new(host.clone(), "/home/dev/session.jsonl", BackendType::Claude);
    /// repo.save_imported_file(&file).await?;
    /// assert_eq!(repo.list_imported_files(&host).await?, [file]);
    /// # Ok(())
    /// # }
    /// ```
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        writes:
        /// Deletes the task for good: its sessions are recorded as removed. Returns whether it existed.
        fn remove_task(&self, id: &TaskId) -> Result<bool> = ops::import::RemoveTask { id: id.clone() };
        /// Makes the sessions of a removed task importable again, and returns how many those were.
        fn lift_removal(&self, task_id: &TaskId) -> Result<u64>
            = ops::import::LiftRemoval { task_id: task_id.clone() };
        /// Records what an import has read of a file.
        fn save_imported_file(&self, file: &ImportedFile) -> Result<()>
            = ops::import::SaveImportedFile { file: file.clone() };
        reads(conn, call):
        /// Returns all sessions whose tasks were removed, from the latest removal on.
        fn list_removed_sessions(&self) -> Result<Vec<RemovedSession>>
            = on_store() => Ok(ops::import::removed_sessions(conn)?);
        /// Returns whether the session belonged to a task that was removed, and no task is bound to it.
        fn is_session_removed(&self, backend: &BackendType, session_id: &SessionId) -> Result<bool>
            = on_store() => Ok(ops::import::is_removed(conn, backend, session_id)?);
        /// Returns what imports on this host have read, in order of the paths.
        fn list_imported_files(&self, host: &HostName) -> Result<Vec<ImportedFile>>
            = on_store() => Ok(ops::import::files_of(conn, host)?);
    }
}
