//! The values that all sides read and write.

use anyhow::Result;
use turnkeep_repo::{BackendType, NewSession, SessionId, TaskId, WorkingDir};

pub(crate) struct Data {
    pub(crate) tasks: Vec<TaskId>,
    /// The initial binding of every task.
    pub(crate) first_binding: NewSession,
    /// The bindings that replace it in turn.
    pub(crate) bindings: [NewSession; 2],
    /// 1 KiB of ASCII.
    pub(crate) content: String,
}

impl Data {
    /// Makes the data for this number of tasks.
    pub(crate) fn new(tasks: usize) -> Result<Self> {
        Ok(Self {
            tasks: (0..tasks).map(task_id).collect::<Result<_>>()?,
            first_binding: binding("6f1d2c3b-58aa-4e63-9c0f-2f1f6d1c7a00")?,
            bindings: [
                binding("0b9e7a52-7c1d-4b58-8f43-9f3b5c0d1e01")?,
                binding("d3a4c6e8-1f2b-4d9a-a7b6-0c8e4f5a6b02")?,
            ],
            content: "0123456789abcdef".repeat(64),
        })
    }
}

/// Returns the id of the task with this number.
pub(crate) fn task_id(number: usize) -> Result<TaskId> {
    Ok(TaskId::new(format!("refactor-login-{number:06}"))?)
}

fn binding(session_id: &str) -> Result<NewSession> {
    let session_id = SessionId::new(session_id)?;
    Ok(NewSession::new(BackendType::Claude, session_id)
        .working_dir(WorkingDir::new("/srv/projects/app")?))
}
