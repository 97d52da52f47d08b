//! Turnkeep.

use std::path::Path;

use anyhow::Result;
use turnkeep_repo::{ConversationTurn, Durability, NewSession, Repo, Role, Session, TaskId};

use crate::store::Store;

/// Opens the store.
pub(crate) fn open(path: &Path, durability: Durability) -> Result<Repo> {
    Ok(Repo::builder(path).durability(durability).open()?)
}

impl Store for Repo {
    type Session = Session;
    type Turn = ConversationTurn;

    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        Ok(Repo::save_message(self, task, Role::Assistant, content)?.get())
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
