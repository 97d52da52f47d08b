use turnkeep_model::{BackendType, TaskId, TaskStatus, UtcMicros};

/// How much of a store belongs to which status, agent and day. Sizes are bytes of text and of compressed recordings.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "hidden: for turnkeep-admin")]
pub struct UsageRows {
    /// Status, number of tasks, bytes. A status without tasks is left out.
    pub statuses: Vec<(TaskStatus, i64, i64)>,
    /// The agent that the task was last bound to, day of the turns since year 0, number of turns,
    /// bytes. In this order, tasks without a binding first.
    pub backend_days: Vec<(Option<BackendType>, i64, i64, i64)>,
    /// Day since year 0, number of tasks that were made on it.
    pub made: Vec<(i64, i64)>,
    /// The largest tasks, the largest first: id, status, last change, number of turns, bytes.
    pub largest: Vec<(TaskId, TaskStatus, UtcMicros, i64, i64)>,
    /// The number of recordings, their bytes, and the bytes that they take compressed.
    pub recordings: (i64, i64, i64),
    /// The bytes of the database on the disk, and how many of them are free in a file.
    pub space: (i64, Option<i64>),
}
