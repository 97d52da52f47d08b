use chrono::{DateTime, Utc};
use turnkeep_model::{TaskId, TaskStatus};

/// A task that a prune has deleted, or would delete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrunedTask {
    /// The task.
    pub id: TaskId,
    /// How it ended.
    pub status: TaskStatus,
    /// Its last activity, UTC: the later of its latest turn and the last change of its status.
    pub last_active_at: DateTime<Utc>,
    /// How many turns it had.
    pub turns: u64,
    /// The bytes of its compressed recordings and of its texts: the conversation, the definition of the task, and the
    /// reasons why its sessions were retired.
    pub bytes: u64,
}
