//! Which tasks to list, and their summaries.

use chrono::{DateTime, Utc};
use turnkeep_model::{BackendType, SessionId, TaskId, TaskStatus, UtcMicros, WorkerId, WorkingDir};

use crate::base::metadata_filter::MetadataFilter;

/// Which tasks to list: a task must meet every given condition. Without any it lists all tasks, the last active first,
/// in pages of 100.
///
/// ```
/// use turnkeep_repo::{BackendType, TaskQuery, TaskStatus};
///
/// let query = TaskQuery::new()
///     .statuses([TaskStatus::Failed, TaskStatus::Running])
///     .backend(BackendType::Claude)
///     .metadata("pool", "gpu")
///     .limit(20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    pub(crate) statuses: Vec<TaskStatus>,
    pub(crate) backend: Option<BackendType>,
    pub(crate) id_prefixes: Option<Vec<String>>,
    pub(crate) working_dir: Option<WorkingDir>,
    pub(crate) folders: Option<Vec<WorkingDir>>,
    pub(crate) agent_role: Option<String>,
    pub(crate) metadata: MetadataFilter,
    pub(crate) active_since: Option<DateTime<Utc>>,
    pub(crate) order: TaskOrder,
    pub(crate) limit: u32,
    pub(crate) after: Option<TaskCursor>,
}

/// The most folders or beginnings of ids in a query. SQLite bounds the depth of an expression.
pub(crate) const MAX_ALTERNATIVES: usize = 100;

/// The order of a list of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TaskOrder {
    /// By the last activity, the latest first. The time that counts here is early by less than a minute, so tasks that
    /// were active within a minute may be in another order than their exact times; then by id, descending.
    /// Turns that another program writes past the library do not count before the next one that the library appends in
    /// a later minute, here and in [`TaskQuery::active_since`].
    ///
    /// A task that becomes active moves to the front. A list that is read in pages then has it once if its page was
    /// read already, and lacks it otherwise.
    #[default]
    LastActive,
    /// By `created_at`, then by id, the oldest first. The order in which ready tasks are given out. No task moves.
    Created,
    /// By id. No task moves.
    Id,
}

/// The place in a list where a page ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCursor {
    /// The time that the list is sorted by.
    pub(crate) time: UtcMicros,
    pub(crate) id: TaskId,
}

/// A page of a list of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskPage {
    /// The tasks, in the order of the query.
    pub tasks: Vec<TaskSummary>,
    /// The end of this page if there are more tasks, for [`TaskQuery::after`].
    pub next: Option<TaskCursor>,
}

/// A task without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskSummary {
    /// The caller's id of the task.
    pub id: TaskId,
    /// The title, for people.
    pub name: String,
    /// The status.
    pub status: TaskStatus,
    /// The role of the agent, in the orchestrator's words.
    pub agent_role: Option<String>,
    /// The agent of the current session. `None` without one.
    pub backend_type: Option<BackendType>,
    /// The agent's own id of the current session.
    pub session_id: Option<SessionId>,
    /// The folder of the current session.
    pub working_dir: Option<WorkingDir>,
    /// The worker that holds the lease.
    pub worker: Option<WorkerId>,
    /// The number of turns, hidden ones included.
    pub turns: u64,
    /// When the task was first saved, UTC.
    pub created_at: DateTime<Utc>,
    /// The time of the last turn or of the last change of the status, whichever is later, UTC. If times fell because a
    /// clock was set back or old turns were imported, the latest of all of them.
    pub last_active_at: DateTime<Utc>,
}

impl TaskQuery {
    /// Makes a query for all tasks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            statuses: TaskStatus::ALL.to_vec(),
            backend: None,
            id_prefixes: None,
            working_dir: None,
            folders: None,
            agent_role: None,
            metadata: MetadataFilter::default(),
            active_since: None,
            order: TaskOrder::default(),
            limit: 100,
            after: None,
        }
    }

    /// Lists only tasks with one of these statuses.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = TaskStatus>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Lists only tasks that are bound to a session of this agent.
    #[must_use]
    pub fn backend(mut self, backend: BackendType) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Lists only tasks whose id, or the id of the session they are bound to, begins with one of these texts. At most
    /// 100 texts; without any, no task is listed.
    #[must_use]
    pub fn id_prefixes(mut self, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.id_prefixes = Some(prefixes.into_iter().map(Into::into).collect());
        self
    }

    /// Lists only tasks that are bound to a session in this folder, compared byte for byte.
    #[must_use]
    pub fn working_dir(mut self, working_dir: WorkingDir) -> Self {
        self.working_dir = Some(working_dir);
        self
    }

    /// Lists only tasks that are bound to a session in one of these folders or below it. At most 100 folders; without
    /// any, no task is listed.
    ///
    /// Folders are texts, compared byte for byte: `/srv/app`, like `/srv/app/`, has `/srv/app/api`, but not
    /// `/srv/apple`, and `/` has every absolute path. Below a folder that does not begin with `/`, such as `C:\work`, a
    /// backslash separates names as well.
    #[must_use]
    pub fn folders(mut self, folders: impl IntoIterator<Item = WorkingDir>) -> Self {
        self.folders = Some(folders.into_iter().collect());
        self
    }

    /// Lists only tasks with this agent role.
    #[must_use]
    pub fn agent_role(mut self, agent_role: impl Into<String>) -> Self {
        self.agent_role = Some(agent_role.into());
        self
    }

    /// Lists only tasks whose metadata have this text at a key at the top. May be repeated: all of them must be there.
    /// Only a JSON string is a text.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.require(key.into(), value.into());
        self
    }

    /// Lists only tasks with a turn or a change of their status at this time or later.
    #[must_use]
    pub fn active_since(mut self, time: DateTime<Utc>) -> Self {
        self.active_since = Some(time);
        self
    }

    /// Sets the order, [`TaskOrder::LastActive`] by default.
    #[must_use]
    pub fn order(mut self, order: TaskOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets the size of a page, 100 by default. A page has at most 1,000 tasks.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Lists the tasks after the end of a page. The other settings stay the same from page to page.
    #[must_use]
    pub fn after(mut self, page: TaskCursor) -> Self {
        self.after = Some(page);
        self
    }
}

impl Default for TaskQuery {
    fn default() -> Self {
        Self::new()
    }
}
