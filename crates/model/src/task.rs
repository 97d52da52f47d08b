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
    FailureMode, Fence, InvalidValue, LeaseLength, Metadata, OptionalStoredText, OptionalUtcMicros,
    StoredText, TaskId, TaskStatus, UtcMicros, WorkerId,
};

/// A unit of work for one agent, with its dependencies.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Task {
    /// The caller's id of the task.
    pub id: TaskId,
    /// The title, for people.
    pub name: String,
    /// The role of the agent, in the orchestrator's words.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub agent_role: Option<String>,
    /// The instructions for the agent.
    pub prompt: String,
    /// The files that the task will write, in the caller's order. Of the tasks that write a file, one runs at a time.
    pub writes_files: Vec<String>,
    /// The status.
    pub status: TaskStatus,
    /// The effect of a failure on dependents.
    pub failure_mode: FailureMode,
    /// The time, UTC, before which the task is not ready.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::serde_support::optional_micros")
    )]
    pub not_before: Option<DateTime<Utc>>,
    /// The caller's own data.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub metadata: Option<Metadata>,
    /// The result, set by a status update.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub result: Option<String>,
    /// The error, set by a status update.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub error: Option<String>,
    /// The worker that holds the lease. `None` without a lease: the task is not claimed, claimed without a
    /// lease, or ended.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub worker: Option<WorkerId>,
    /// Increases with every claim and requeue since the first lease, and is 0 before that. A write with an
    /// older fence is refused. At most [`Fence::MAX`]; a task with that fence can't be claimed again.
    pub fence: Fence,
    /// When the lease ends, UTC, by the database's clock. Set exactly if `worker` is.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::serde_support::optional_micros")
    )]
    pub lease_ends_at: Option<DateTime<Utc>>,
    /// The length of the lease when it was claimed or last renewed. A lease whose end is further away than
    /// this has expired, because the clock was wrong. Set exactly if `worker` is.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub lease_length: Option<LeaseLength>,
    /// When the task was first saved, UTC. Never changes.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub created_at: DateTime<Utc>,
    /// When the task last changed, UTC. Turns and session bindings do not change it.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub updated_at: DateTime<Utc>,
    /// When status, result and error were last written, UTC: by a status update, a claim or a requeue. Saving
    /// the plan or renewing the lease does not change it.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub status_changed_at: DateTime<Utc>,
    /// The dependencies: a set, in order of their ids.
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
            .field("not_before", &self.not_before)
            .field("metadata", &self.metadata)
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

/// A row of the `tasks` table: a [`Task`] without its dependencies, which are rows of another table.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[diesel(table_name = tasks, treat_none_as_default_value = false, treat_none_as_null = true)]
#[expect(missing_docs, reason = "the fields are those of Task")]
#[non_exhaustive]
pub struct TaskRow {
    pub id: TaskId,
    #[diesel(deserialize_as = StoredText<'static>, serialize_as = StoredText<'static>)]
    pub name: String,
    #[diesel(deserialize_as = OptionalStoredText, serialize_as = OptionalStoredText)]
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub agent_role: Option<String>,
    #[diesel(deserialize_as = StoredText<'static>, serialize_as = StoredText<'static>)]
    pub prompt: String,
    #[diesel(deserialize_as = FileList, serialize_as = FileList)]
    pub writes_files: Vec<String>,
    pub status: TaskStatus,
    pub failure_mode: FailureMode,
    #[diesel(deserialize_as = OptionalUtcMicros, serialize_as = OptionalUtcMicros)]
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::serde_support::optional_micros")
    )]
    pub not_before: Option<DateTime<Utc>>,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub metadata: Option<Metadata>,
    #[diesel(deserialize_as = OptionalStoredText, serialize_as = OptionalStoredText)]
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub result: Option<String>,
    #[diesel(deserialize_as = OptionalStoredText, serialize_as = OptionalStoredText)]
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub error: Option<String>,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub worker: Option<WorkerId>,
    pub fence: Fence,
    #[diesel(deserialize_as = OptionalUtcMicros, serialize_as = OptionalUtcMicros)]
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::serde_support::optional_micros")
    )]
    pub lease_ends_at: Option<DateTime<Utc>>,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub lease_length: Option<LeaseLength>,
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub created_at: DateTime<Utc>,
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub updated_at: DateTime<Utc>,
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub status_changed_at: DateTime<Utc>,
}

impl TaskRow {
    /// Returns the task with its dependencies.
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
            not_before: self.not_before,
            metadata: self.metadata,
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

/// The plan of a task: all of it except its progress.
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
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct NewTask {
    /// The caller's id of the task.
    pub id: TaskId,
    /// The title, for people.
    pub name: String,
    /// The role of the agent. `None` by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub agent_role: Option<String>,
    /// The instructions for the agent. Empty by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub prompt: String,
    /// The files that the task will write. While another running task writes one of them, this one can't be claimed.
    /// Empty by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub writes_files: Vec<String>,
    /// The status of a new task, [`TaskStatus::Pending`] by default. A stored task keeps its status.
    #[cfg_attr(feature = "serde", serde(default = "pending"))]
    pub status: TaskStatus,
    /// The result of a new task. `None` by default. A stored task keeps its result.
    #[cfg_attr(feature = "serde", serde(default))]
    pub result: Option<String>,
    /// The error of a new task. `None` by default. A stored task keeps its error.
    #[cfg_attr(feature = "serde", serde(default))]
    pub error: Option<String>,
    /// The effect of a failure on dependents, [`FailureMode::Hard`] by default.
    #[cfg_attr(feature = "serde", serde(default = "hard"))]
    pub failure_mode: FailureMode,
    /// The time before which the task is not ready, by the clock of the database, rounded down to a microsecond.
    /// `None` by default.
    #[cfg_attr(
        feature = "serde",
        serde(default, with = "crate::serde_support::optional_micros")
    )]
    pub not_before: Option<DateTime<Utc>>,
    /// The caller's own data. `None` by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub metadata: Option<Metadata>,
    /// The dependencies. Order and repeats do not matter. Empty by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub depends_on: Vec<TaskId>,
    /// When the work of a new task began and ended, if that was before the write. By default both are the time
    /// of the write. A stored task keeps its times.
    #[cfg_attr(
        feature = "serde",
        serde(default, with = "crate::serde_support::optional_span")
    )]
    pub recorded: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

#[cfg(feature = "serde")]
fn pending() -> TaskStatus {
    TaskStatus::Pending
}

#[cfg(feature = "serde")]
fn hard() -> FailureMode {
    FailureMode::Hard
}

impl NewTask {
    /// Makes a pending task without dependencies.
    #[must_use]
    pub fn new(id: TaskId, name: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            agent_role: None,
            prompt: String::new(),
            writes_files: Vec::new(),
            status: TaskStatus::Pending,
            result: None,
            error: None,
            failure_mode: FailureMode::Hard,
            not_before: None,
            metadata: None,
            depends_on: Vec::new(),
            recorded: None,
        }
    }

    /// Sets the role of the agent.
    #[must_use]
    pub fn agent_role(mut self, agent_role: impl Into<String>) -> Self {
        self.agent_role = Some(agent_role.into());
        self
    }

    /// Sets the instructions for the agent.
    #[must_use]
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = prompt.into();
        self
    }

    /// Sets the files that the task will write.
    #[must_use]
    pub fn writes_files(mut self, files: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.writes_files = files.into_iter().map(Into::into).collect();
        self
    }

    /// Sets status, result and error of a new task. A stored task keeps its own.
    ///
    /// ```
    /// use turnkeep_model::{NewTask, StatusUpdate, TaskId, TaskStatus};
    ///
    /// let running = NewTask::new(TaskId::new("tests")?, "Write the tests").status(TaskStatus::Running);
    /// let merged = NewTask::new(TaskId::new("parser")?, "Write the parser")
    ///     .status(StatusUpdate::completed("merged"));
    /// assert_eq!(merged.result.as_deref(), Some("merged"));
    /// # Ok::<(), turnkeep_model::InvalidValue>(())
    /// ```
    #[must_use]
    pub fn status(mut self, update: impl Into<StatusUpdate>) -> Self {
        let update = update.into();
        self.status = update.status;
        self.result = update.result;
        self.error = update.error;
        self
    }

    /// Sets the effect of a failure on dependents.
    #[must_use]
    pub fn failure_mode(mut self, failure_mode: FailureMode) -> Self {
        self.failure_mode = failure_mode;
        self
    }

    /// Sets the time before which the task is not ready, by the clock of the database, rounded down to a
    /// microsecond.
    #[must_use]
    pub fn not_before(mut self, time: DateTime<Utc>) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Sets the caller's own data.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Sets the times of a new task: `created_at` is the first, `updated_at` and `status_changed_at` are the
    /// second. A stored task keeps its times.
    #[must_use]
    pub fn recorded(mut self, begun: DateTime<Utc>, ended: DateTime<Utc>) -> Self {
        self.recorded = Some((begun, ended));
        self
    }

    /// Sets the dependencies.
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
            .field("result", &Redacted::optional(self.result.as_deref()))
            .field("error", &Redacted::optional(self.error.as_deref()))
            .field("failure_mode", &self.failure_mode)
            .field("not_before", &self.not_before)
            .field("metadata", &self.metadata)
            .field("depends_on", &self.depends_on)
            .field("recorded", &self.recorded)
            .finish()
    }
}

/// The progress of a task: status, result and error, written together.
///
/// `From<TaskStatus>` makes one without result and error.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct StatusUpdate {
    /// The new status.
    pub status: TaskStatus,
    /// The result. `None` clears an earlier one.
    #[cfg_attr(feature = "serde", serde(default))]
    pub result: Option<String>,
    /// The error. `None` clears an earlier one.
    #[cfg_attr(feature = "serde", serde(default))]
    pub error: Option<String>,
}

impl StatusUpdate {
    /// The task succeeded with this result.
    #[must_use]
    pub fn completed(result: impl Into<String>) -> Self {
        Self {
            status: TaskStatus::Completed,
            result: Some(result.into()),
            error: None,
        }
    }

    /// The task failed with this error.
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

/// A list of file names in the database: a JSON array of texts.
///
/// Rows have `Vec<String>`; this type converts to and from the TEXT column.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct FileList(String);

impl From<&[String]> for FileList {
    fn from(files: &[String]) -> Self {
        Self(serde_json::Value::from(files).to_string())
    }
}

/// For a row that is written.
impl From<Vec<String>> for FileList {
    fn from(files: Vec<String>) -> Self {
        Self::from(&files[..])
    }
}

impl TryFrom<FileList> for Vec<String> {
    type Error = InvalidValue;

    fn try_from(list: FileList) -> Result<Self, InvalidValue> {
        serde_json::from_str(&list.0)
            .map_err(|_| InvalidValue::new("file list", "is not a JSON array of texts"))
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
    fn a_file_list_keeps_names_with_separators_and_quotes() {
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
