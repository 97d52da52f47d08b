//! What both sides can do, and Turnkeep's side of it.

use anyhow::Result;
use turnkeep_repo::{ConversationTurn, NewSession, Repo, Role, Session, TaskId};

/// A side of the comparison.
pub(crate) trait Store {
    type Session;
    type Turn;

    /// Appends a message in a transaction of its own and returns its seq.
    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64>;

    /// Replaces the task's binding, which must be another one, and puts it on record.
    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<Self::Session>;

    /// Returns the task's binding.
    fn get_session(&mut self, task: &TaskId) -> Result<Self::Session>;

    /// Returns all turns of the task in order.
    fn get_history(&mut self, task: &TaskId) -> Result<Vec<Self::Turn>>;
}

impl Store for Repo {
    type Session = Session;
    type Turn = ConversationTurn;

    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        Ok(Repo::save_message(self, task, Role::Assistant, content)?)
    }

    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<Session> {
        Ok(Repo::save_session(self, task, binding)?)
    }

    fn get_session(&mut self, task: &TaskId) -> Result<Session> {
        Ok(Repo::get_session(self, task)?)
    }

    fn get_history(&mut self, task: &TaskId) -> Result<Vec<ConversationTurn>> {
        Ok(Repo::get_history(self, task)?)
    }
}
