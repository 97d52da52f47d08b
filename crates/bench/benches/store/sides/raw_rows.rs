//! Rows as a C program would keep them.

use anyhow::{Context as _, Result};

use super::raw::Row;
use crate::plain::{PlainSession, PlainTurn};

/// An owned copy of a row of `sessions`, with unchecked texts.
#[derive(Debug)]
pub(crate) struct RawSession {
    task_id: Vec<u8>,
    backend_type: Vec<u8>,
    session_id: Vec<u8>,
    working_dir: Option<Vec<u8>>,
    created_at: i64,
    updated_at: i64,
}

impl RawSession {
    /// Copies the current row.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            task_id: text(row, 0)?,
            backend_type: text(row, 1)?,
            session_id: text(row, 2)?,
            working_dir: row.text(3).map(<[u8]>::to_vec),
            created_at: row.integer(4),
            updated_at: row.integer(5),
        })
    }
}

impl From<RawSession> for PlainSession {
    fn from(session: RawSession) -> Self {
        Self {
            task_id: plain(session.task_id),
            backend_type: plain(session.backend_type),
            session_id: plain(session.session_id),
            working_dir: session.working_dir.map(plain),
            created_at: session.created_at,
            updated_at: session.updated_at,
        }
    }
}

/// An owned copy of a row of `conversation_history` without its task, with unchecked texts.
#[derive(Debug)]
pub(crate) struct RawTurn {
    seq: i64,
    role: Vec<u8>,
    content: Vec<u8>,
    timestamp: i64,
    message_key: Option<Vec<u8>>,
}

impl RawTurn {
    /// Copies the current row.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            seq: row.integer(0),
            role: text(row, 1)?,
            content: text(row, 2)?,
            timestamp: row.integer(3),
            message_key: row.text(4).map(<[u8]>::to_vec),
        })
    }
}

impl From<RawTurn> for PlainTurn {
    fn from(turn: RawTurn) -> Self {
        Self {
            task_id: String::new(),
            seq: turn.seq,
            role: plain(turn.role),
            content: plain(turn.content),
            timestamp: turn.timestamp,
            message_key: turn.message_key.map(plain),
        }
    }
}

/// Replaces invalid UTF-8, so that it compares as different.
fn plain(text: Vec<u8>) -> String {
    String::from_utf8_lossy(&text).into_owned()
}

fn text(row: &Row<'_>, column: i32) -> Result<Vec<u8>> {
    Ok(row.text(column).context("NULL where it can't be")?.to_vec())
}
