use turnkeep_model::{Fence, TaskId};

/// The task that a write is about.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) task_id: TaskId,
    /// The fence that the task must have; `None` for any.
    pub(crate) fence: Option<Fence>,
}

impl Target {
    pub(crate) fn new(task_id: &TaskId, fence: impl Into<Option<Fence>>) -> Self {
        Self {
            task_id: task_id.clone(),
            fence: fence.into(),
        }
    }
}
