use turnkeep_model::{TaskId, TaskStatus};

/// How far the tasks of a store have come: each is ready, running, blocked or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The number of pending and eligible tasks with all dependencies done.
    /// [`Repo::ready_tasks`](crate::Repo::ready_tasks) leaves those out whose `not_before` lies ahead or whose
    /// files a running task writes.
    pub ready: u64,
    /// The number of running tasks.
    pub running: u64,
    /// The tasks that wait for others, in order of their ids.
    pub blocked: Vec<BlockedTask>,
    /// The number of completed, failed and skipped tasks.
    pub ended: u64,
}

/// A task that can't start yet, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedTask {
    /// The task.
    pub id: TaskId,
    /// The task that stops it: a failed one that it waits for, directly or not, and otherwise its first
    /// dependency that has not ended.
    pub cause: TaskId,
    /// The status of that task. After [`TaskStatus::Failed`] the blocked task starts only if the failed one
    /// is run again.
    pub cause_status: TaskStatus,
}
