//! Removing a task that was listed.

use turnkeep_repo::{Repo, Result, TaskSummary};

/// Removes a task as [`Repo::remove_task`] does, unless it has changed since it was listed. Returns whether it was
/// removed.
///
/// For a removal that a person confirms first. Any difference from the summary keeps the task: a turn, a status, another
/// session, folder, worker or name, and another task that was made under its id. The task is locked before it is compared,
/// so a write that was acknowledged before is seen, and a later one finds no task.
///
/// # Errors
/// Only the [errors of every call](Repo#errors-of-every-call).
///
/// ```
/// use turnkeep_admin::remove_unchanged;
/// use turnkeep_repo::{NewTask, Repo, Role, TaskId, TaskQuery};
///
/// let repo = Repo::open_in_memory()?;
/// let task = TaskId::new("t1")?;
/// repo.save_task(&NewTask::new(task.clone(), "T1"))?;
/// let listed = repo.list_tasks(&TaskQuery::new())?.tasks;
/// repo.save_message(&task, Role::User, "One more thing.")?;
/// assert!(!remove_unchanged(&repo, &listed[0])?);
///
/// let listed = repo.list_tasks(&TaskQuery::new())?.tasks;
/// assert!(remove_unchanged(&repo, &listed[0])?);
/// assert!(!remove_unchanged(&repo, &listed[0])?, "gone already");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn remove_unchanged(repo: &Repo, task: &TaskSummary) -> Result<bool> {
    repo.bulk("remove_unchanged", None)
        .write(|rows| rows.remove_unchanged(task))
}
