//! Rows as `--json` prints them. The names of the fields are a contract with other programs, documented in
//! the README.

use serde_json::{Value, json};
use turnkeep_repo::chrono::{DateTime, SecondsFormat, Utc};
use turnkeep_repo::{
    BackendType, ConfigDir, Metadata, RecordingFile, Session, SessionId, SessionRevision, Task,
    TaskId, TaskSummary, WorkerId, WorkingDir,
};

pub(crate) fn task(task: &Task) -> Value {
    json!({
        "id": task.id.as_str(),
        "name": task.name,
        "agent_role": task.agent_role,
        "prompt": task.prompt,
        "writes_files": task.writes_files,
        "status": task.status.as_str(),
        "failure_mode": task.failure_mode.as_str(),
        "not_before": task.not_before.map(micros),
        "metadata": task.metadata.as_ref().map(Metadata::as_str),
        "result": task.result,
        "error": task.error,
        "created_at": micros(task.created_at),
        "updated_at": micros(task.updated_at),
        "depends_on": task.depends_on.iter().map(TaskId::as_str).collect::<Vec<_>>(),
    })
}

pub(crate) fn summary(task: &TaskSummary) -> Value {
    json!({
        "id": task.id.as_str(),
        "name": task.name,
        "status": task.status.as_str(),
        "agent_role": task.agent_role,
        "backend": task.backend_type.as_ref().map(BackendType::as_str),
        "session_id": task.session_id.as_ref().map(SessionId::as_str),
        "working_dir": task.working_dir.as_ref().map(WorkingDir::as_str),
        "worker": task.worker.as_ref().map(WorkerId::as_str),
        "turns": task.turns,
        "created_at": micros(task.created_at),
        "last_active_at": micros(task.last_active_at),
    })
}

pub(crate) fn session(session: &Session) -> Value {
    json!({
        "task_id": session.task_id.as_str(),
        "backend": session.backend_type.as_str(),
        "session_id": session.session_id.as_str(),
        "working_dir": session.working_dir.as_ref().map(WorkingDir::as_str),
        "config_dir": session.config_dir.as_ref().map(ConfigDir::as_str),
        "metadata": session.metadata.as_ref().map(Metadata::as_str),
        "created_at": micros(session.created_at),
        "updated_at": micros(session.updated_at),
    })
}

pub(crate) fn recording(file: &RecordingFile) -> Value {
    json!({
        "task_id": file.task_id.as_str(),
        "number": file.number.get(),
        "name": file.name.as_str(),
        "length": file.length,
        "stored_bytes": file.stored_bytes,
        "created_at": micros(file.created_at),
        "updated_at": micros(file.updated_at),
    })
}

pub(crate) fn revision(revision: &SessionRevision) -> Value {
    json!({
        "task_id": revision.task_id.as_str(),
        "revision": revision.revision.get(),
        "backend": revision.backend_type.as_str(),
        "session_id": revision.session_id.as_str(),
        "working_dir": revision.working_dir.as_ref().map(WorkingDir::as_str),
        "config_dir": revision.config_dir.as_ref().map(ConfigDir::as_str),
        "metadata": revision.metadata.as_ref().map(Metadata::as_str),
        "first_seq": revision.first_seq.get(),
        "saved_at": micros(revision.saved_at),
        "retired_at": revision.retired_at.map(micros),
        "retired_reason": revision.retired_reason,
    })
}

/// Formats a time for `--json`: RFC 3339, UTC, with the microseconds of the store.
pub(crate) fn micros(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Formats a time of a recording: RFC 3339, UTC, with milliseconds.
pub(crate) fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Formats a time for people.
pub(crate) fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
