//! What all sides can do.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use turnkeep_repo::{NewSession, TaskId};

use crate::plain::{PlainSession, PlainTurn};

/// A side of the comparison.
pub(crate) trait Store {
    /// What it reads a binding as.
    type Session: Into<PlainSession>;
    /// What it reads a turn as.
    type Turn: Into<PlainTurn>;

    /// Appends a message in a transaction of its own and returns its seq.
    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64>;

    /// Replaces the task's binding, which must be another one, and puts it on record.
    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<Self::Session>;

    /// Returns the task's binding.
    fn get_session(&mut self, task: &TaskId) -> Result<Self::Session>;

    /// Returns all turns of the task in order.
    fn get_history(&mut self, task: &TaskId) -> Result<Vec<Self::Turn>>;
}

/// Returns the time in the database's form. Every side asks the clock once per write.
pub(crate) fn now() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_micros())?)
}
