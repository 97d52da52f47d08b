use turnkeep_model::{NewTask, StatusUpdate, Task, TaskId};

use crate::api::repo::Repo;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::progress::Progress;
use crate::base::target::Target;
use crate::base::task_list::{TaskPage, TaskQuery};
use crate::store::{on_engine, write_op};

/// The tasks of an orchestrator and their dependencies.
impl Repo {
    /// Inserts or updates a task. Status, result and error of [`NewTask`] are used only for a new task.
    ///
    /// The dependencies replace the stored ones. Status, result, error and `created_at` of a stored
    /// task stay, so an orchestrator can save its whole plan again after a restart. Saving an equal
    /// task again writes no row.
    ///
    /// # Errors
    /// An error means that the call stored no data.
    /// - [`ErrorKind::DependencyNotFound`]: a dependency is not stored. Save that task first, or both
    ///   with [`save_tasks`](Self::save_tasks).
    /// - [`ErrorKind::DependencyCycle`]: a dependency depends on this task, directly or not, or is
    ///   this task.
    /// - [`ErrorKind::InvalidInput`]: a text is longer than
    ///   [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES).
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Repo, TaskId};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// let (parser, tests) = (TaskId::new("parser")?, TaskId::new("tests")?);
    /// repo.save_task(&NewTask::new(parser.clone(), "Write the parser"))?;
    /// repo.save_task(&NewTask::new(tests.clone(), "Test it").depends_on([parser.clone()]))?;
    /// let ready = repo.ready_tasks()?;
    /// assert_eq!(ready.len(), 1);
    /// assert_eq!(ready[0].id, parser);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_task(&self, task: &NewTask) -> Result<()> {
        write_op!(self.store => ops::plan::SaveTask { task: task.clone() })
    }

    /// Inserts or updates the tasks of a plan in one transaction: all of them or none. They may be in
    /// any order, and a task may depend on any other task of the plan or of the store.
    ///
    /// Each task is saved like with [`save_task`](Self::save_task), so the same plan can be saved again
    /// after a restart. The new tasks of a call have one `created_at`, and are therefore given out in
    /// order of their ids. Tasks of the store that are not in the plan stay as they are.
    ///
    /// # Errors
    /// An error means that the call stored no data.
    /// - [`ErrorKind::DependencyNotFound`]: a dependency is neither in the plan nor stored.
    /// - [`ErrorKind::DependencyCycle`]: dependencies of the plan and of stored tasks form a circle. Has
    ///   its tasks.
    /// - [`ErrorKind::InvalidInput`]: a task is in the plan twice, or a text is longer than
    ///   [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES).
    ///
    /// ```
    /// use turnkeep_repo::{ErrorKind, NewTask, Repo, TaskId};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// let (parser, tests) = (TaskId::new("parser")?, TaskId::new("tests")?);
    /// let mut plan = [
    ///     NewTask::new(tests.clone(), "Test it").depends_on([parser.clone()]),
    ///     NewTask::new(parser.clone(), "Write the parser"),
    /// ];
    /// repo.save_tasks(&plan)?;
    /// assert_eq!(repo.ready_tasks()?[0].id, parser);
    ///
    /// plan[1].depends_on = vec![tests.clone()];
    /// let error = repo.save_tasks(&plan).unwrap_err();
    /// let members = vec![parser, tests];
    /// assert_eq!(*error.kind(), ErrorKind::DependencyCycle { members });
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_tasks(&self, plan: &[NewTask]) -> Result<()> {
        write_op!(self.store => ops::plan::SaveTasks { tasks: plan.to_vec() })
    }

    /// Returns the task with its dependencies.
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when it does not exist.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, ErrorKind};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// assert_eq!(repo.get_task(&task)?.name, "T1");
    /// let none = repo.get_task(&TaskId::new("t2")?);
    /// assert!(matches!(none.unwrap_err().kind(), ErrorKind::TaskNotFound));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_task(&self, id: &TaskId) -> Result<Task> {
        let call = Operation::on_task("get_task", id);
        let task = on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| Ok(ops::task::find(conn, id)?)))?;
        found(task, call)
    }

    /// Returns all tasks with their dependencies, in order of `created_at`, then id.
    ///
    /// Reads every prompt and result. For a list to show, see [`list_tasks`](Self::list_tasks).
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// for task in repo.get_tasks()? {
    ///     println!("{} is {}, waits for {:?}", task.id, task.status, task.depends_on);
    /// }
    /// # assert_eq!(repo.get_tasks()?.len(), 1);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_tasks(&self) -> Result<Vec<Task>> {
        let call = Operation::on_store("get_tasks");
        on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| ops::task::list(conn, call)))
    }

    /// Returns a page of the tasks that meet the conditions, without their texts: no prompt, result, error or
    /// content is read. Reads one state of the store; another call sees the changes since.
    ///
    /// A page costs about as much as its tasks, however many the store has. An agent, an agent role or metadata also
    /// cost the tasks that they leave out before the page is full: all of them if few tasks meet the condition.
    /// A folder costs at most its tasks, of 1,000 and more also the tasks that it leaves out; sorted by creation
    /// or id, `active_since` costs the tasks that it keeps.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the year of `active_since` is not in 0 to 9999.
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Repo, TaskId, TaskOrder, TaskQuery, TaskStatus};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// for id in ["t1", "t2", "t3"] {
    ///     repo.save_task(&NewTask::new(TaskId::new(id)?, "A task"))?;
    /// }
    /// let query = TaskQuery::new().statuses([TaskStatus::Pending]).limit(2);
    /// let mut query = query.order(TaskOrder::Created);
    /// let mut ids = Vec::new();
    /// loop {
    ///     let page = repo.list_tasks(&query)?;
    ///     ids.extend(page.tasks.into_iter().map(|task| task.id.to_string()));
    ///     match page.next {
    ///         Some(next) => query = query.after(next),
    ///         None => break,
    ///     }
    /// }
    /// assert_eq!(ids, ["t1", "t2", "t3"]);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn list_tasks(&self, query: &TaskQuery) -> Result<TaskPage> {
        let call = Operation::on_store("list_tasks");
        on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| ops::task_list::page(conn, call, query)))
    }

    /// Returns the tasks that can start: pending and eligible tasks with all dependencies done, their time come and all
    /// their files free. Each of them could be claimed now. In order of `created_at`, then id.
    ///
    /// A dependency is done when it is completed or skipped, or when it failed with the failure
    /// mode soft or skip. A failed task with the mode hard blocks its dependants.
    ///
    /// A running task holds the files that it writes until its status changes or its lease is over.
    /// File names are compared byte for byte.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId, TaskStatus};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let after = NewTask::new(TaskId::new("t2")?, "T2").depends_on([task.clone()]);
    /// repo.save_task(&after)?;
    /// assert_eq!(repo.ready_tasks()?[0].id, task);
    /// repo.update_task_status(&task, TaskStatus::Completed)?;
    /// assert_eq!(repo.ready_tasks()?[0].id, after.id);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn ready_tasks(&self) -> Result<Vec<Task>> {
        let call = Operation::on_store("ready_tasks");
        on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| ops::task::ready(conn, call)))
    }

    /// Returns how far the tasks have come: the numbers of ready, running and ended tasks, and each task that
    /// waits for others with the task that stops it. Reads one state of the store.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Repo, TaskId, TaskStatus};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// let [parser, tests, docs] = ["parser", "tests", "docs"].map(TaskId::new);
    /// let (parser, tests) = (parser?, tests?);
    /// repo.save_tasks(&[
    ///     NewTask::new(parser.clone(), "Write the parser").status(TaskStatus::Failed),
    ///     NewTask::new(tests.clone(), "Test it").depends_on([parser.clone()]),
    ///     NewTask::new(docs?, "Describe it").depends_on([tests]),
    /// ])?;
    /// let progress = repo.progress()?;
    /// assert_eq!((progress.ready, progress.running, progress.ended), (0, 0, 1));
    /// assert_eq!(progress.blocked.len(), 2);
    /// for task in progress.blocked {
    ///     assert_eq!((task.cause, task.cause_status), (parser.clone(), TaskStatus::Failed));
    /// }
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn progress(&self) -> Result<Progress> {
        let call = Operation::on_store("progress");
        on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| Ok(ops::progress::progress(conn)?)))
    }

    /// Sets status, result and error of the task as one value: a part that the update lacks is
    /// cleared. Any status may follow any other. Any status but running ends a lease.
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist, [`ErrorKind::InvalidInput`] when a text
    /// is longer than [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES).
    ///
    /// ```
    /// use turnkeep_repo::{StatusUpdate, TaskStatus};
    /// # use turnkeep_repo::{NewTask, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.update_task_status(&task, TaskStatus::Running)?;
    /// repo.update_task_status(&task, StatusUpdate::failed("the build is red"))?;
    /// assert_eq!(repo.get_task(&task)?.error.as_deref(), Some("the build is red"));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn update_task_status(&self, id: &TaskId, update: impl Into<StatusUpdate>) -> Result<()> {
        let (target, update) = (Target::new(id, None), update.into());
        write_op!(self.store => ops::task::UpdateTaskStatus { target, update })
    }

    /// Sets the task running if it is pending or eligible; returns whether this call did. Of
    /// concurrent callers exactly one gets `true`. It also returns `false` while another running task
    /// holds a file that this one writes (see [`ready_tasks`](Self::ready_tasks)). Dependencies are
    /// not checked. The claim has no lease: the task stays running until its status is changed, and an
    /// earlier lease is lost. See [`claim_ready`](Self::claim_ready) for claims that expire.
    ///
    /// # Errors
    /// - [`ErrorKind::TaskNotFound`] when the task does not exist.
    /// - [`ErrorKind::Corrupt`] when the task's fence has reached [`Fence::MAX`](crate::Fence::MAX),
    ///   or when its list of files can't be read.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// assert!(repo.claim_task(&task)?);
    /// assert!(!repo.claim_task(&task)?, "someone has it");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn claim_task(&self, id: &TaskId) -> Result<bool> {
        write_op!(self.store => ops::task::ClaimTask { id: id.clone() })
    }

    /// Sets running tasks pending again after a crash of the orchestrator, and returns their ids in
    /// order. Tasks with a lease that has not ended stay running, and so do tasks with a fence of
    /// [`Fence::MAX`](crate::Fence::MAX). Call it only while no other orchestrator uses the
    /// store.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.claim_task(&task)?;
    /// assert_eq!(repo.requeue_running()?, [task.clone()]);
    /// assert!(repo.claim_task(&task)?, "to be claimed again");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn requeue_running(&self) -> Result<Vec<TaskId>> {
        write_op!(self.store => ops::task::RequeueRunning)
    }

    /// Deletes the task with its sessions, revisions, history and dependencies, and returns whether
    /// it existed. Tasks that depended on it no longer do. [`vacuum`](Self::vacuum) shrinks the
    /// file. An import makes the task of a session again whose recording it finds:
    /// [`remove_task`](Self::remove_task) prevents that.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// assert!(repo.delete_task(&task)?);
    /// assert!(!repo.delete_task(&task)?, "gone already");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn delete_task(&self, id: &TaskId) -> Result<bool> {
        write_op!(self.store => ops::task::DeleteTask { id: id.clone() })
    }
}

fn found(task: Option<Task>, call: Operation<'_>) -> Result<Task> {
    task.ok_or_else(|| ErrorKind::TaskNotFound.on(&call))
}

methods! {
    /// The tasks of an orchestrator and their dependencies.
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
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        writes:
        /// Inserts or updates a task.
        fn save_task(&self, task: &NewTask) -> Result<()> = ops::plan::SaveTask { task: task.clone() };
        /// Inserts or updates the tasks of a plan, in any order: all of them or none.
        fn save_tasks(&self, plan: &[NewTask]) -> Result<()> = ops::plan::SaveTasks { tasks: plan.to_vec() };
        /// Sets status, result and error of the task as one value.
        fn update_task_status(&self, id: &TaskId, update: impl Into<StatusUpdate>) -> Result<()>
            = ops::task::UpdateTaskStatus { target: Target::new(id, None), update: update.into() };
        /// Sets the task running if it is pending or eligible and its files are free; returns whether this
        /// call did.
        fn claim_task(&self, id: &TaskId) -> Result<bool> = ops::task::ClaimTask { id: id.clone() };
        /// Sets running tasks pending again after a crash of the orchestrator, and returns their ids.
        fn requeue_running(&self) -> Result<Vec<TaskId>> = ops::task::RequeueRunning;
        /// Deletes the task with all that belongs to it, and returns whether it existed.
        fn delete_task(&self, id: &TaskId) -> Result<bool> = ops::task::DeleteTask { id: id.clone() };
        reads(conn, call):
        /// Returns the task with its dependencies.
        fn get_task(&self, id: &TaskId) -> Result<Task>
            = on_task(id) => Ok(found(ops::task::find(conn, id)?, call)?);
        /// Returns all tasks with their dependencies, in order of `created_at`, then id.
        fn get_tasks(&self) -> Result<Vec<Task>>
            = on_store() => ops::task::list(conn, call);
        /// Returns a page of the tasks that meet the conditions, without their texts.
        fn list_tasks(&self, query: &TaskQuery) -> Result<TaskPage>
            = on_store() => ops::task_list::page(conn, call, query);
        /// Returns the tasks that can start: pending and eligible tasks with all dependencies done, their
        /// time come and all files free.
        fn ready_tasks(&self) -> Result<Vec<Task>>
            = on_store() => ops::task::ready(conn, call);
        /// Returns how far the tasks have come.
        fn progress(&self) -> Result<Progress>
            = on_store() => Ok(ops::progress::progress(conn)?);
    }
}
