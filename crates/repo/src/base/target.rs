use turnkeep_model::TaskId;

/// The task that a write is about.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) task_id: TaskId,
    /// The fence that the task must have; `None` for any.
    pub(crate) fence: Option<i64>,
}

impl Target {
    pub(crate) fn new(task_id: &TaskId, fence: impl Into<Option<i64>>) -> Self {
        Self {
            task_id: task_id.clone(),
            fence: fence.into(),
        }
    }
}
