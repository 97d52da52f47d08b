use chrono::{DateTime, Utc};
use diesel::prelude::*;
use turnkeep_schema::{session_revisions, sessions};

use crate::short_text::short_text;
use crate::{
    BackendType, Counter, OptionalStoredText, OptionalUtcMicros, SessionId, TaskId, UtcMicros,
};

short_text! {
    /// The folder an agent session runs in: 1 to 4096 bytes of UTF-8, no NUL, kept as given.
    ///
    /// Text and not a path, because it may name a folder of another machine.
    WorkingDir, "working folder", 4096
}

/// The agent session a task is bound to now. Backend, session id and folder are one value: they
/// are written and read together.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub struct Session {
    /// The task, of which this is the only current binding.
    pub task_id: TaskId,
    /// The agent program that knows the session id.
    pub backend_type: BackendType,
    /// The agent's own name for the session.
    pub session_id: SessionId,
    /// Where the agent ran; some agents resume only there.
    pub working_dir: Option<WorkingDir>,
    /// When a binding was first saved (since the last one was retired), UTC.
    #[diesel(deserialize_as = UtcMicros)]
    pub created_at: DateTime<Utc>,
    /// When the binding last changed, UTC. Saving the same binding again does not change it.
    #[diesel(deserialize_as = UtcMicros)]
    pub updated_at: DateTime<Utc>,
}

/// A binding to save for a task.
///
/// ```
/// use turnkeep_model::{BackendType, NewSession, SessionId, WorkingDir};
///
/// let binding = NewSession::new(BackendType::Claude, SessionId::new("6f1d2c3b")?)
///     .working_dir(WorkingDir::new("/srv/app")?);
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The agent program that knows the session id.
    pub backend_type: BackendType,
    /// The agent's own name for the session.
    pub session_id: SessionId,
    /// Where the agent runs. None by default.
    pub working_dir: Option<WorkingDir>,
}

impl NewSession {
    /// Makes a binding without a working folder.
    #[must_use]
    pub fn new(backend_type: BackendType, session_id: SessionId) -> Self {
        Self {
            backend_type,
            session_id,
            working_dir: None,
        }
    }

    /// Sets the folder the agent runs in.
    #[must_use]
    pub fn working_dir(mut self, working_dir: WorkingDir) -> Self {
        self.working_dir = Some(working_dir);
        self
    }
}

/// A binding that a task has or once had. Append-only: the only later change is its retirement.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = session_revisions)]
pub struct SessionRevision {
    /// The task.
    pub task_id: TaskId,
    /// 1 for the task's first binding, then 2, 3, … without gaps.
    #[diesel(deserialize_as = Counter)]
    pub revision: i64,
    /// The agent program.
    pub backend_type: BackendType,
    /// The agent's own name for the session.
    pub session_id: SessionId,
    /// Where the agent ran.
    pub working_dir: Option<WorkingDir>,
    /// When this binding was saved, UTC.
    #[diesel(deserialize_as = UtcMicros)]
    pub saved_at: DateTime<Utc>,
    /// When it stopped being the current one, UTC. None for the current one.
    #[diesel(deserialize_as = OptionalUtcMicros)]
    pub retired_at: Option<DateTime<Utc>>,
    /// Why it stopped being the current one: [`REPLACED`](Self::REPLACED), or what the caller
    /// said. Set exactly when `retired_at` is.
    #[diesel(deserialize_as = OptionalStoredText)]
    pub retired_reason: Option<String>,
}

impl SessionRevision {
    /// The reason recorded when another binding is saved over this one.
    pub const REPLACED: &str = "replaced";
}
