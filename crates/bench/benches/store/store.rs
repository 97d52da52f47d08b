//! The operations of every side.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use turnkeep_repo::{NewSession, TaskId};

use crate::plain::{PlainSession, PlainTurn};

/// A side of the comparison.
pub(crate) trait Store {
    /// The type of a binding.
    type Session: Into<PlainSession>;
    /// The type of a turn.
    type Turn: Into<PlainTurn>;

    /// Appends a message in its own transaction and returns its seq.
    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64>;

    /// Replaces the task's binding with a different one and records it.
    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<Self::Session>;

    /// Returns the task's binding.
    fn get_session(&mut self, task: &TaskId) -> Result<Self::Session>;

    /// Returns all turns of the task in order.
    fn get_history(&mut self, task: &TaskId) -> Result<Vec<Self::Turn>>;
}

/// Returns the time in the database's form. Every side reads the clock once per write.
pub(crate) fn now() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_micros())?)
}
