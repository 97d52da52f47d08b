use turnkeep_model::{NewTask, StatusUpdate, Task, TaskId};

use super::AsyncRepo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::store::on_engine;

/// Tasks, their dependencies, and how far they have come. Order, atomicity, errors and repeats are as for the
/// methods of the same names of [`Repo`](crate::Repo).
///
/// ```
/// # use turnkeep_repo::{AsyncRepo, NewTask, TaskId, TaskStatus};
/// # #[tokio::main]
/// # async fn main() -> turnkeep_repo::Result<()> {
/// let repo = AsyncRepo::open_in_memory().await?;
/// let task = TaskId::new("t1")?;
/// repo.save_task(&NewTask::new(task.clone(), "T1")).await?;
/// assert_eq!(repo.ready_tasks().await?[0].id, task);
/// assert!(repo.claim_task(&task).await?);
/// assert_eq!(repo.requeue_running().await?, [task.clone()]);
/// repo.update_task_status(&task, TaskStatus::Completed).await?;
/// assert_eq!(repo.get_task(&task).await?.status, TaskStatus::Completed);
/// assert!(repo.delete_task(&task).await?);
/// # Ok(())
/// # }
/// ```
impl AsyncRepo {
    /// Saves what a task is. See [`Repo::save_task`](crate::Repo::save_task).
    ///
    /// # Errors
    /// [`ErrorKind::DependencyNotFound`],
    /// [`ErrorKind::DependencyCycle`] and
    /// [`ErrorKind::InvalidInput`], as there.
    pub async fn save_task(&self, task: &NewTask) -> Result<()> {
        let task = task.clone();
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::task::SaveTask { task }).await)
    }

    /// Returns a task with its dependencies. See [`Repo::get_task`](crate::Repo::get_task).
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when it does not exist.
    pub async fn get_task(&self, id: &TaskId) -> Result<Task> {
        let id = id.clone();
        self.block("get_task", move |repo| repo.get_task(&id)).await
    }

    /// Returns all tasks, oldest first. See [`Repo::list_tasks`](crate::Repo::list_tasks).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn list_tasks(&self) -> Result<Vec<Task>> {
        self.block("list_tasks", |repo| repo.list_tasks()).await
    }

    /// Returns the tasks that can be started. See
    /// [`Repo::ready_tasks`](crate::Repo::ready_tasks).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn ready_tasks(&self) -> Result<Vec<Task>> {
        self.block("ready_tasks", |repo| repo.ready_tasks()).await
    }

    /// Writes how far a task has come. See
    /// [`Repo::update_task_status`](crate::Repo::update_task_status).
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist,
    /// [`ErrorKind::InvalidInput`] when a text is too long.
    pub async fn update_task_status(
        &self,
        id: &TaskId,
        update: impl Into<StatusUpdate>,
    ) -> Result<()> {
        let update = update.into();
        let id = id.clone();
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::task::UpdateTaskStatus { id, update }).await)
    }

    /// Sets the task running if nobody else has; returns whether this call did. See
    /// [`Repo::claim_task`](crate::Repo::claim_task).
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist.
    pub async fn claim_task(&self, id: &TaskId) -> Result<bool> {
        let id = id.clone();
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::task::ClaimTask { id }).await)
    }

    /// Sets every running task pending and returns their ids. See
    /// [`Repo::requeue_running`](crate::Repo::requeue_running).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn requeue_running(&self) -> Result<Vec<TaskId>> {
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::task::RequeueRunning).await)
    }

    /// Deletes the task with everything under it; returns whether there was one. See
    /// [`Repo::delete_task`](crate::Repo::delete_task).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    pub async fn delete_task(&self, id: &TaskId) -> Result<bool> {
        let id = id.clone();
        on_engine!(self.repo.store, engine, ops => self.write(&engine.writer, ops::task::DeleteTask { id }).await)
    }

    /// Deletes the task and leaves nothing readable of it in the file. See
    /// [`Repo::delete_task_securely`](crate::Repo::delete_task_securely).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a server, and
    /// [`ErrorKind::Busy`], as there.
    pub async fn delete_task_securely(&self, id: &TaskId) -> Result<bool> {
        let id = id.clone();
        let delete = move |repo: &crate::Repo| repo.delete_task_securely(&id);
        self.block("delete_task_securely", delete).await
    }

    /// Writes the file anew, without the room of what was deleted. See
    /// [`Repo::vacuum`](crate::Repo::vacuum). It is completed even if the future is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a server, and
    /// [`ErrorKind::Busy`], as there.
    pub async fn vacuum(&self) -> Result<()> {
        self.block("vacuum", |repo| repo.vacuum()).await
    }
}
