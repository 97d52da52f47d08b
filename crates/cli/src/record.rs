//! What `--json` prints, as far as several commands print it. The names of the fields are a
//! contract with the programs that read them; the README documents it.

use serde::Serialize;
use turnkeep_repo::chrono::{DateTime, SecondsFormat, Utc};
use turnkeep_repo::{ConversationTurn, Session, SessionRevision, Task, TaskId};

#[derive(Serialize)]
pub(crate) struct TaskRecord<'a> {
    id: &'a str,
    name: &'a str,
    agent_role: Option<&'a str>,
    prompt: &'a str,
    writes_files: &'a [String],
    status: &'static str,
    failure_mode: &'static str,
    result: Option<&'a str>,
    error: Option<&'a str>,
    created_at: String,
    updated_at: String,
    depends_on: Vec<&'a str>,
}

impl<'a> From<&'a Task> for TaskRecord<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            id: task.id.as_str(),
            name: &task.name,
            agent_role: task.agent_role.as_deref(),
            prompt: &task.prompt,
            writes_files: &task.writes_files,
            status: task.status.as_str(),
            failure_mode: task.failure_mode.as_str(),
            result: task.result.as_deref(),
            error: task.error.as_deref(),
            created_at: micros(task.created_at),
            updated_at: micros(task.updated_at),
            depends_on: task.depends_on.iter().map(TaskId::as_str).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct SessionRecord<'a> {
    task_id: &'a str,
    backend: &'a str,
    session_id: &'a str,
    working_dir: Option<&'a str>,
    created_at: String,
    updated_at: String,
}

impl<'a> From<&'a Session> for SessionRecord<'a> {
    fn from(session: &'a Session) -> Self {
        Self {
            task_id: session.task_id.as_str(),
            backend: session.backend_type.as_str(),
            session_id: session.session_id.as_str(),
            working_dir: session.working_dir.as_ref().map(AsRef::as_ref),
            created_at: micros(session.created_at),
            updated_at: micros(session.updated_at),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RevisionRecord<'a> {
    task_id: &'a str,
    revision: i64,
    backend: &'a str,
    session_id: &'a str,
    working_dir: Option<&'a str>,
    saved_at: String,
    retired_at: Option<String>,
    retired_reason: Option<&'a str>,
}

impl<'a> From<&'a SessionRevision> for RevisionRecord<'a> {
    fn from(revision: &'a SessionRevision) -> Self {
        Self {
            task_id: revision.task_id.as_str(),
            revision: revision.revision,
            backend: revision.backend_type.as_str(),
            session_id: revision.session_id.as_str(),
            working_dir: revision.working_dir.as_ref().map(AsRef::as_ref),
            saved_at: micros(revision.saved_at),
            retired_at: revision.retired_at.map(micros),
            retired_reason: revision.retired_reason.as_deref(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct TurnRecord<'a> {
    task_id: &'a str,
    seq: i64,
    role: &'static str,
    content: &'a str,
    timestamp: String,
    message_key: Option<&'a str>,
}

impl<'a> From<&'a ConversationTurn> for TurnRecord<'a> {
    fn from(turn: &'a ConversationTurn) -> Self {
        Self {
            task_id: turn.task_id.as_str(),
            seq: turn.seq,
            role: turn.role.as_str(),
            content: &turn.content,
            timestamp: micros(turn.timestamp),
            message_key: turn.message_key.as_ref().map(AsRef::as_ref),
        }
    }
}

/// RFC 3339, UTC, as precise as the store is.
pub(crate) fn micros(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// RFC 3339, UTC, as precise as the agents are.
pub(crate) fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// For people.
pub(crate) fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
