use std::fmt;

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use turnkeep_schema::tasks;

use crate::redact::Redacted;
use crate::{
    Counter, FailureMode, InvalidValue, LeaseLength, OptionalStoredText, OptionalUtcMicros,
    StoredText, TaskId, TaskStatus, UtcMicros, WorkerId,
};

/// A unit of work that one agent does, with the tasks it waits for.
#[derive(Clone, PartialEq, Eq)]
pub struct Task {
    /// The caller's name for it.
    pub id: TaskId,
    /// A title for people.
    pub name: String,
    /// The part the agent plays, in the orchestrator's words.
    pub agent_role: Option<String>,
    /// What the agent is asked to do.
    pub prompt: String,
    /// Files the task will write, in the caller's order.
    pub writes_files: Vec<String>,
    /// Where it stands.
    pub status: TaskStatus,
    /// What its failure means for dependents.
    pub failure_mode: FailureMode,
    /// What came of it.
    pub result: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Who has it on lease. None when nobody has: not taken, taken without a lease, or done.
    pub worker: Option<WorkerId>,
    /// Counts how often the task was given out or taken back since it was first on lease; 0 before
    /// that. Never falls. A write that names an older number is refused. At most
    /// [`Counter::MAX`]: a task that has reached it is given out no more.
    pub fence: i64,
    /// When the lease ends, UTC, by the database's clock. Set exactly when `worker` is.
    pub lease_ends_at: Option<DateTime<Utc>>,
    /// How long the lease was when it was given out or last renewed. A lease that ends further off than
    /// that is over: the clock was wrong then. Set exactly when `worker` is.
    pub lease_length: Option<LeaseLength>,
    /// When it was first saved, UTC. Never reset.
    pub created_at: DateTime<Utc>,
    /// When it last changed, UTC. Turns and session bindings do not count.
    pub updated_at: DateTime<Utc>,
    /// When status, result and error were last written, UTC: by a status update, a claim or a requeue.
    /// A saved plan and a renewed lease do not move it.
    pub status_changed_at: DateTime<Utc>,
    /// The tasks it waits for: a set, in order of their ids.
    pub depends_on: Vec<TaskId>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("agent_role", &self.agent_role)
            .field("prompt", &Redacted::text(&self.prompt))
            .field("writes_files", &self.writes_files)
            .field("status", &self.status)
            .field("failure_mode", &self.failure_mode)
            .field("result", &Redacted::optional(self.result.as_deref()))
            .field("error", &Redacted::optional(self.error.as_deref()))
            .field("worker", &self.worker)
            .field("fence", &self.fence)
            .field("lease_ends_at", &self.lease_ends_at)
            .field("lease_length", &self.lease_length)
            .field("created_at", &self.created_at)
            .field("updated_at", &self.updated_at)
            .field("status_changed_at", &self.status_changed_at)
            .field("depends_on", &self.depends_on)
            .finish()
    }
}

/// One row of the `tasks` table: a [`Task`] without its dependencies, which are rows of a table
/// of their own.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = tasks)]
#[expect(missing_docs, reason = "the fields are those of Task")]
pub struct TaskRow {
    pub id: TaskId,
    #[diesel(deserialize_as = StoredText<'static>)]
    pub name: String,
    #[diesel(deserialize_as = OptionalStoredText)]
    pub agent_role: Option<String>,
    #[diesel(deserialize_as = StoredText<'static>)]
    pub prompt: String,
    #[diesel(deserialize_as = FileList)]
    pub writes_files: Vec<String>,
    pub status: TaskStatus,
    pub failure_mode: FailureMode,
    #[diesel(deserialize_as = OptionalStoredText)]
    pub result: Option<String>,
    #[diesel(deserialize_as = OptionalStoredText)]
    pub error: Option<String>,
    pub worker: Option<WorkerId>,
    #[diesel(deserialize_as = Counter)]
    pub fence: i64,
    #[diesel(deserialize_as = OptionalUtcMicros)]
    pub lease_ends_at: Option<DateTime<Utc>>,
    pub lease_length: Option<LeaseLength>,
    #[diesel(deserialize_as = UtcMicros)]
    pub created_at: DateTime<Utc>,
    #[diesel(deserialize_as = UtcMicros)]
    pub updated_at: DateTime<Utc>,
    #[diesel(deserialize_as = UtcMicros)]
    pub status_changed_at: DateTime<Utc>,
}

impl TaskRow {
    /// Puts the row and its dependencies together.
    #[must_use]
    pub fn with_dependencies(self, depends_on: Vec<TaskId>) -> Task {
        Task {
            id: self.id,
            name: self.name,
            agent_role: self.agent_role,
            prompt: self.prompt,
            writes_files: self.writes_files,
            status: self.status,
            failure_mode: self.failure_mode,
            result: self.result,
            error: self.error,
            worker: self.worker,
            fence: self.fence,
            lease_ends_at: self.lease_ends_at,
            lease_length: self.lease_length,
            created_at: self.created_at,
            updated_at: self.updated_at,
            status_changed_at: self.status_changed_at,
            depends_on,
        }
    }
}

impl fmt::Debug for TaskRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clone().with_dependencies(Vec::new()).fmt(f)
    }
}

/// A task that a worker was given, on lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The task as it is now: running.
    pub task: Task,
    /// Who has it.
    pub worker: WorkerId,
    /// What tells this claim from every other of the task: 1 or more, above all before it.
    pub fence: i64,
    /// When the lease ends, UTC, by the database's clock. From then on the task may be given to
    /// another worker.
    pub lease_ends_at: DateTime<Utc>,
}

/// What a task is: everything but how far it has come.
///
/// ```
/// use turnkeep_model::{FailureMode, NewTask, TaskId};
///
/// let task = NewTask::new(TaskId::new("tests")?, "Write the tests")
///     .prompt("Cover the parser.")
///     .depends_on([TaskId::new("parser")?])
///     .failure_mode(FailureMode::Soft);
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The caller's name for it.
    pub id: TaskId,
    /// A title for people.
    pub name: String,
    /// The part the agent plays. None by default.
    pub agent_role: Option<String>,
    /// What the agent is asked to do. Empty by default.
    pub prompt: String,
    /// Files the task will write. None by default.
    pub writes_files: Vec<String>,
    /// Where a new task starts: pending by default. A task that is stored already keeps its
    /// own status.
    pub status: TaskStatus,
    /// What its failure means for dependents: [`FailureMode::Hard`] by default.
    pub failure_mode: FailureMode,
    /// The tasks it waits for, each counted once whatever the order. None by default.
    pub depends_on: Vec<TaskId>,
    /// When a new task was begun and ended elsewhere. By default both are the clock's time at the write. A
    /// task that is stored already keeps its own times.
    pub recorded: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl NewTask {
    /// Makes a pending task that waits for nothing.
    #[must_use]
    pub fn new(id: TaskId, name: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            agent_role: None,
            prompt: String::new(),
            writes_files: Vec::new(),
            status: TaskStatus::Pending,
            failure_mode: FailureMode::Hard,
            depends_on: Vec::new(),
            recorded: None,
        }
    }

    /// Sets the part the agent plays.
    #[must_use]
    pub fn agent_role(mut self, agent_role: impl Into<String>) -> Self {
        self.agent_role = Some(agent_role.into());
        self
    }

    /// Sets what the agent is asked to do.
    #[must_use]
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = prompt.into();
        self
    }

    /// Sets the files the task will write.
    #[must_use]
    pub fn writes_files(mut self, files: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.writes_files = files.into_iter().map(Into::into).collect();
        self
    }

    /// Sets where the task starts, if it is not stored yet.
    #[must_use]
    pub fn status(mut self, status: TaskStatus) -> Self {
        self.status = status;
        self
    }

    /// Sets what its failure means for dependents.
    #[must_use]
    pub fn failure_mode(mut self, failure_mode: FailureMode) -> Self {
        self.failure_mode = failure_mode;
        self
    }

    /// Sets when the task was begun and ended elsewhere, if it is not stored yet: `created_at` is the first
    /// time, `updated_at` and `status_changed_at` are the second.
    #[must_use]
    pub fn recorded(mut self, begun: DateTime<Utc>, ended: DateTime<Utc>) -> Self {
        self.recorded = Some((begun, ended));
        self
    }

    /// Sets the tasks it waits for.
    #[must_use]
    pub fn depends_on(mut self, tasks: impl IntoIterator<Item = TaskId>) -> Self {
        self.depends_on = tasks.into_iter().collect();
        self
    }
}

impl fmt::Debug for NewTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewTask")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("agent_role", &self.agent_role)
            .field("prompt", &Redacted::text(&self.prompt))
            .field("writes_files", &self.writes_files)
            .field("status", &self.status)
            .field("failure_mode", &self.failure_mode)
            .field("depends_on", &self.depends_on)
            .field("recorded", &self.recorded)
            .finish()
    }
}

/// How far a task has come: status, result and error, written as one value.
///
/// Made from a [`TaskStatus`] alone when there is neither result nor error.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Where it stands now.
    pub status: TaskStatus,
    /// What came of it; `None` clears an earlier result.
    pub result: Option<String>,
    /// What went wrong; `None` clears an earlier error.
    pub error: Option<String>,
}

impl StatusUpdate {
    /// The task ended well, with this result.
    #[must_use]
    pub fn completed(result: impl Into<String>) -> Self {
        Self {
            status: TaskStatus::Completed,
            result: Some(result.into()),
            error: None,
        }
    }

    /// The task ended badly, for this reason.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self {
            status: TaskStatus::Failed,
            result: None,
            error: Some(error.into()),
        }
    }
}

impl From<TaskStatus> for StatusUpdate {
    fn from(status: TaskStatus) -> Self {
        Self {
            status,
            result: None,
            error: None,
        }
    }
}

impl fmt::Debug for StatusUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusUpdate")
            .field("status", &self.status)
            .field("result", &Redacted::optional(self.result.as_deref()))
            .field("error", &Redacted::optional(self.error.as_deref()))
            .finish()
    }
}

/// A list of file names as the database keeps it: a JSON array of texts.
///
/// Rows hand out `Vec<String>`; this type stands between it and the TEXT column.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct FileList(String);

impl From<&[String]> for FileList {
    fn from(files: &[String]) -> Self {
        Self(serde_json::Value::from(files).to_string())
    }
}

impl TryFrom<FileList> for Vec<String> {
    type Error = InvalidValue;

    fn try_from(list: FileList) -> Result<Self, InvalidValue> {
        serde_json::from_str(&list.0)
            .map_err(|_| InvalidValue::new("file list", "is no JSON array of texts"))
    }
}

impl<DB: Backend> ToSql<Text, DB> for FileList
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.as_str().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for FileList
where
    String: FromSql<Text, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        String::from_sql(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_list_survives_what_separators_would_not() {
        let files = ["a,b", "c d", "e\nf", "\"g\"", "", "ü\u{0}"].map(String::from);
        let list = FileList::from(&files[..]);
        assert_eq!(Vec::try_from(list).unwrap(), files);
        assert!(Vec::try_from(FileList("[1]".into())).is_err());
    }

    #[test]
    fn debug_shows_no_words_of_the_conversation() {
        let task = NewTask::new(TaskId::new("t").unwrap(), "T").prompt("secret");
        assert!(!format!("{task:?}").contains("secret"));
        assert!(!format!("{:?}", StatusUpdate::failed("secret")).contains("secret"));
    }
}
