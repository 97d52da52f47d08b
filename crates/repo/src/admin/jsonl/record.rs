//! The lines, as values and as JSON. What is written and what is read are the same types.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use turnkeep_model::{
    BackendType, ConversationTurn, Counter, FailureMode, InvalidValue, LeaseLength, MAX_TEXT_BYTES,
    MessageKey, Role, Session, SessionId, SessionRevision, TaskId, TaskRow, TaskStatus, UtcMicros,
    WorkerId, WorkingDir, visible,
};

use super::VERSION;
use super::fault::LineFault;
use crate::admin::copy::Snapshot;

/// The first line.
#[derive(Serialize, Deserialize)]
pub(super) struct Header<'a> {
    format: Cow<'a, str>,
    version: u64,
}

impl Header<'_> {
    const FORMAT: &'static str = "turnkeep";

    pub(super) fn new() -> Self {
        Self {
            format: Self::FORMAT.into(),
            version: VERSION,
        }
    }

    /// Reads the first line, of whichever version.
    pub(super) fn check(line: &[u8]) -> Result<(), LineFault> {
        let header: Header<'_> =
            serde_json::from_slice(line).map_err(|_| LineFault::NotAnExport)?;
        if header.format != Self::FORMAT {
            return Err(LineFault::NotAnExport);
        }
        match header.version {
            VERSION => Ok(()),
            version => Err(LineFault::UnknownVersion { version }),
        }
    }
}

/// Any other line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record<'a> {
    #[serde(borrow)]
    Task(TaskRecord<'a>),
    Revision(RevisionRecord<'a>),
    Session(SessionRecord<'a>),
    Turn(TurnRecord<'a>),
    End(EndRecord),
}

/// A field that may be null, and may not be missing.
macro_rules! nullable {
    ($name:ident, $type:ty) => {
        fn $name<'a, 'de: 'a, D>(deserializer: D) -> Result<Option<$type>, D::Error>
        where
            D: serde::Deserializer<'de>,
        {
            Option::deserialize(deserializer)
        }
    };
}
nullable!(text, Cow<'a, str>);
nullable!(number, i64);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskRecord<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(deserialize_with = "text", borrow)]
    agent_role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    prompt: Cow<'a, str>,
    writes_files: Cow<'a, [String]>,
    status: Cow<'a, str>,
    failure_mode: Cow<'a, str>,
    #[serde(deserialize_with = "text", borrow)]
    result: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "text", borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "text", borrow)]
    worker: Option<Cow<'a, str>>,
    fence: i64,
    #[serde(deserialize_with = "number")]
    lease_ends_at: Option<i64>,
    /// A text of an earlier program has none.
    #[serde(default)]
    lease_length: Option<i64>,
    created_at: i64,
    updated_at: i64,
    /// Missing from a text that was written before there was this field.
    #[serde(default)]
    status_changed_at: Option<i64>,
    depends_on: Vec<Cow<'a, str>>,
    revisions: u64,
    turns: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevisionRecord<'a> {
    task_id: Cow<'a, str>,
    revision: i64,
    backend_type: Cow<'a, str>,
    session_id: Cow<'a, str>,
    #[serde(deserialize_with = "text", borrow)]
    working_dir: Option<Cow<'a, str>>,
    saved_at: i64,
    #[serde(deserialize_with = "number")]
    retired_at: Option<i64>,
    #[serde(deserialize_with = "text", borrow)]
    retired_reason: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRecord<'a> {
    task_id: Cow<'a, str>,
    backend_type: Cow<'a, str>,
    session_id: Cow<'a, str>,
    #[serde(deserialize_with = "text", borrow)]
    working_dir: Option<Cow<'a, str>>,
    created_at: i64,
    updated_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnRecord<'a> {
    task_id: Cow<'a, str>,
    seq: i64,
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    timestamp: i64,
    #[serde(deserialize_with = "text", borrow)]
    message_key: Option<Cow<'a, str>>,
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndRecord {
    pub(super) tasks: u64,
    pub(super) turns: u64,
}

impl<'a> From<&'a Snapshot> for Record<'a> {
    /// Makes the line of the task, which the others follow.
    fn from(task: &'a Snapshot) -> Self {
        let row = &task.row;
        Self::Task(TaskRecord {
            id: row.id.as_str().into(),
            name: row.name.as_str().into(),
            agent_role: row.agent_role.as_deref().map(Cow::from),
            prompt: row.prompt.as_str().into(),
            writes_files: row.writes_files.as_slice().into(),
            status: row.status.as_str().into(),
            failure_mode: row.failure_mode.as_str().into(),
            result: row.result.as_deref().map(Cow::from),
            error: row.error.as_deref().map(Cow::from),
            worker: row.worker.as_ref().map(|worker| worker.as_str().into()),
            fence: row.fence,
            lease_ends_at: row.lease_ends_at.map(|time| time.timestamp_micros()),
            lease_length: row.lease_length.map(LeaseLength::as_micros),
            created_at: row.created_at.timestamp_micros(),
            updated_at: row.updated_at.timestamp_micros(),
            status_changed_at: Some(row.status_changed_at.timestamp_micros()),
            depends_on: task
                .depends_on
                .iter()
                .map(|id| id.as_str().into())
                .collect(),
            revisions: task.revisions.len() as u64,
            turns: task.last_seq,
        })
    }
}

impl<'a> From<&'a SessionRevision> for Record<'a> {
    fn from(revision: &'a SessionRevision) -> Self {
        Self::Revision(RevisionRecord {
            task_id: revision.task_id.as_str().into(),
            revision: revision.revision,
            backend_type: revision.backend_type.as_str().into(),
            session_id: revision.session_id.as_str().into(),
            working_dir: revision.working_dir.as_ref().map(|dir| dir.as_str().into()),
            saved_at: revision.saved_at.timestamp_micros(),
            retired_at: revision.retired_at.map(|time| time.timestamp_micros()),
            retired_reason: revision.retired_reason.as_deref().map(Cow::from),
        })
    }
}

impl<'a> From<&'a Session> for Record<'a> {
    fn from(session: &'a Session) -> Self {
        Self::Session(SessionRecord {
            task_id: session.task_id.as_str().into(),
            backend_type: session.backend_type.as_str().into(),
            session_id: session.session_id.as_str().into(),
            working_dir: session.working_dir.as_ref().map(|dir| dir.as_str().into()),
            created_at: session.created_at.timestamp_micros(),
            updated_at: session.updated_at.timestamp_micros(),
        })
    }
}

impl<'a> From<&'a ConversationTurn> for Record<'a> {
    fn from(turn: &'a ConversationTurn) -> Self {
        Self::Turn(TurnRecord {
            task_id: turn.task_id.as_str().into(),
            seq: turn.seq,
            role: turn.role.as_str().into(),
            content: turn.content.as_str().into(),
            timestamp: turn.timestamp.timestamp_micros(),
            message_key: turn.message_key.as_ref().map(|key| key.as_str().into()),
        })
    }
}

/// A line that was read, its values checked.
pub(super) enum Line {
    /// A task without what follows, and how many revisions do.
    Task(Box<Snapshot>, u64),
    Revision(SessionRevision),
    Session(Session),
    Turn(ConversationTurn),
    End(EndRecord),
}

impl Line {
    pub(super) fn parse(line: &[u8]) -> Result<Self, LineFault> {
        Ok(match serde_json::from_slice(line)? {
            Record::Task(task) => {
                let revisions = task.revisions;
                Self::Task(Box::new(task.try_into()?), revisions)
            }
            Record::Revision(revision) => Self::Revision(revision.try_into()?),
            Record::Session(session) => Self::Session(session.try_into()?),
            Record::Turn(turn) => Self::Turn(turn.try_into()?),
            Record::End(end) => Self::End(end),
        })
    }

    /// Returns what it is, in words.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Task(task, _) => format!("task `{}`", visible(task.row.id.as_str())),
            Self::Revision(revision) => {
                format!(
                    "revision {} of task `{}`",
                    revision.revision,
                    visible(revision.task_id.as_str())
                )
            }
            Self::Session(session) => format!(
                "the session of task `{}`",
                visible(session.task_id.as_str())
            ),
            Self::Turn(turn) => format!(
                "turn {} of task `{}`",
                turn.seq,
                visible(turn.task_id.as_str())
            ),
            Self::End(end) => format!("the end of {} tasks and {} turns", end.tasks, end.turns),
        }
    }
}

impl TryFrom<TaskRecord<'_>> for Snapshot {
    type Error = LineFault;

    fn try_from(task: TaskRecord<'_>) -> Result<Self, LineFault> {
        if task.worker.is_some() != task.lease_ends_at.is_some() {
            return Err(invalid(
                "lease",
                "has a worker without an end, or an end without one",
            ));
        }
        let lease_length = match (&task.worker, task.lease_length) {
            (None, None) => None,
            (None, Some(_)) => return Err(invalid("lease", "has a length without a worker")),
            // Its worker loses nothing by it, and a wrong clock holds the task no longer than a day.
            (Some(_), None) => Some(LeaseLength::MAX),
            (Some(_), Some(micros)) => Some(LeaseLength::from_micros(micros)?),
        };
        let fence = Counter::new("fence", task.fence)?.into();
        let turns = Counter::new("number of turns", task.turns)?.into();
        let depends_on = task.depends_on.iter().map(|id| TaskId::new(&**id));
        let depends_on = depends_on.collect::<Result<Vec<_>, _>>()?;
        if !depends_on.is_sorted_by(|a, b| a < b) {
            return Err(invalid(
                "depends_on",
                "is not in order of the ids, each of them once",
            ));
        }
        let files = task.writes_files.into_owned();
        for file in &files {
            check_length("file name", file)?;
        }
        let row = TaskRow {
            id: TaskId::new(&*task.id)?,
            name: free("name", task.name)?,
            agent_role: optional("agent role", task.agent_role)?,
            prompt: free("prompt", task.prompt)?,
            writes_files: files,
            status: task.status.parse::<TaskStatus>()?,
            failure_mode: task.failure_mode.parse::<FailureMode>()?,
            result: optional("result", task.result)?,
            error: optional("error", task.error)?,
            worker: task.worker.map(|text| WorkerId::new(&*text)).transpose()?,
            fence,
            lease_ends_at: task.lease_ends_at.map(time).transpose()?,
            lease_length,
            created_at: time(task.created_at)?,
            updated_at: time(task.updated_at)?,
            status_changed_at: time(task.status_changed_at.unwrap_or(task.updated_at))?,
        };
        Ok(Self {
            row,
            depends_on,
            session: None,
            revisions: Vec::new(),
            last_seq: turns,
        })
    }
}

impl TryFrom<RevisionRecord<'_>> for SessionRevision {
    type Error = LineFault;

    fn try_from(revision: RevisionRecord<'_>) -> Result<Self, LineFault> {
        if revision.retired_at.is_some() != revision.retired_reason.is_some() {
            return Err(invalid(
                "retirement",
                "has a time without a reason, or a reason without one",
            ));
        }
        Ok(Self {
            task_id: TaskId::new(&*revision.task_id)?,
            revision: Counter::new("revision", revision.revision)?.into(),
            backend_type: revision.backend_type.parse::<BackendType>()?,
            session_id: SessionId::new(&*revision.session_id)?,
            working_dir: folder(revision.working_dir)?,
            saved_at: time(revision.saved_at)?,
            retired_at: revision.retired_at.map(time).transpose()?,
            retired_reason: optional("reason", revision.retired_reason)?,
        })
    }
}

impl TryFrom<SessionRecord<'_>> for Session {
    type Error = LineFault;

    fn try_from(session: SessionRecord<'_>) -> Result<Self, LineFault> {
        Ok(Self {
            task_id: TaskId::new(&*session.task_id)?,
            backend_type: session.backend_type.parse::<BackendType>()?,
            session_id: SessionId::new(&*session.session_id)?,
            working_dir: folder(session.working_dir)?,
            created_at: time(session.created_at)?,
            updated_at: time(session.updated_at)?,
        })
    }
}

impl TryFrom<TurnRecord<'_>> for ConversationTurn {
    type Error = LineFault;

    fn try_from(turn: TurnRecord<'_>) -> Result<Self, LineFault> {
        Ok(Self {
            task_id: TaskId::new(&*turn.task_id)?,
            seq: Counter::new("seq", turn.seq)?.into(),
            role: turn.role.parse::<Role>()?,
            content: free("content", turn.content)?,
            timestamp: time(turn.timestamp)?,
            message_key: turn
                .message_key
                .map(|key| MessageKey::new(&*key))
                .transpose()?,
        })
    }
}

fn folder(text: Option<Cow<'_, str>>) -> Result<Option<WorkingDir>, InvalidValue> {
    text.map(|text| WorkingDir::new(&*text)).transpose()
}

fn optional(field: &'static str, text: Option<Cow<'_, str>>) -> Result<Option<String>, LineFault> {
    text.map(|text| free(field, text)).transpose()
}

fn free(field: &'static str, text: Cow<'_, str>) -> Result<String, LineFault> {
    check_length(field, &text)?;
    Ok(text.into_owned())
}

fn check_length(field: &'static str, text: &str) -> Result<(), LineFault> {
    match text.len() {
        0..=MAX_TEXT_BYTES => Ok(()),
        length => Err(LineFault::InvalidValue {
            field,
            reason: format!("is {length} bytes long, at most {MAX_TEXT_BYTES} are allowed"),
        }),
    }
}

fn time(micros: i64) -> Result<DateTime<Utc>, LineFault> {
    let out_of_range = || invalid("time", "is outside the years 0 to 9999");
    let time = DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range)?;
    UtcMicros::new(time).map_err(|_| out_of_range())?;
    Ok(time)
}

fn invalid(field: &'static str, reason: &str) -> LineFault {
    LineFault::InvalidValue {
        field,
        reason: reason.into(),
    }
}
