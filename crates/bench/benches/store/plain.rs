//! Rows as plain values, in which most sides read and write and all are compared.

use diesel::prelude::*;
use turnkeep_repo::{ConversationTurn, NewSession, Session, TaskId};
use turnkeep_schema::{conversation_history, sessions};

/// A row of `sessions`.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions)]
pub(crate) struct PlainSession {
    pub(crate) task_id: String,
    pub(crate) backend_type: String,
    pub(crate) session_id: String,
    pub(crate) working_dir: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

impl PlainSession {
    /// Returns the row of a new binding.
    pub(crate) fn new(task: &TaskId, binding: &NewSession, now: i64) -> Self {
        Self {
            task_id: task.as_str().into(),
            backend_type: binding.backend_type.as_str().into(),
            session_id: binding.session_id.as_str().into(),
            working_dir: binding.working_dir.as_ref().map(|dir| dir.as_str().into()),
            created_at: now,
            updated_at: now,
        }
    }
}

/// Ignores the time of the last change.
impl PartialEq for PlainSession {
    fn eq(&self, other: &Self) -> bool {
        self.task_id == other.task_id
            && self.backend_type == other.backend_type
            && self.session_id == other.session_id
            && self.working_dir == other.working_dir
            && self.created_at == other.created_at
            && self.created_at <= self.updated_at
    }
}

impl From<Session> for PlainSession {
    fn from(session: Session) -> Self {
        Self {
            task_id: session.task_id.as_str().into(),
            backend_type: session.backend_type.as_str().into(),
            session_id: session.session_id.as_str().into(),
            working_dir: session.working_dir.map(|dir| dir.as_str().into()),
            created_at: session.created_at.timestamp_micros(),
            updated_at: session.updated_at.timestamp_micros(),
        }
    }
}

/// A row of `conversation_history`.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = conversation_history)]
pub(crate) struct PlainTurn {
    pub(crate) task_id: String,
    pub(crate) seq: i64,
    pub(crate) role: String,
    pub(crate) content: String,
    pub(crate) timestamp: i64,
    pub(crate) message_key: Option<String>,
}

/// Ignores the times, and the task, which the raw side does not copy.
impl PartialEq for PlainTurn {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
            && self.role == other.role
            && self.content == other.content
            && self.message_key == other.message_key
            && (self.timestamp > 0) == (other.timestamp > 0)
    }
}

impl From<ConversationTurn> for PlainTurn {
    fn from(turn: ConversationTurn) -> Self {
        Self {
            task_id: turn.task_id.as_str().into(),
            seq: turn.seq.get(),
            role: turn.role.as_str().into(),
            content: turn.content,
            timestamp: turn.timestamp.timestamp_micros(),
            message_key: turn.message_key.map(|key| key.as_str().into()),
        }
    }
}
