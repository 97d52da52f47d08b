use std::path::PathBuf;

use chrono::{DateTime, Utc};
use turnkeep_model::{
    BackendType, ConversationTurn, InvalidValue, NewMessage, Role, SessionId, TaskId, WorkingDir,
};

use crate::merge;
use crate::message::RecordedMessage;

/// One session as its agent recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The agent.
    pub backend_type: BackendType,
    /// The agent's own name for the session.
    pub session_id: SessionId,
    /// Where the agent ran, if the recording says so.
    pub working_dir: Option<WorkingDir>,
    /// The turns, in the order of the recording. Empty for a session that was opened and left.
    pub messages: Vec<RecordedMessage>,
    /// How many lines (in a database: messages) hold something that can't be read.
    pub unparsable_lines: u64,
    /// The file it was read from.
    pub path: PathBuf,
}

impl Recording {
    /// Returns the task the recording is kept under: `<backend>:<session id>`.
    ///
    /// # Errors
    /// [`InvalidValue`] when the session id is so long that nothing can stand before it.
    pub fn task_id(&self) -> Result<TaskId, InvalidValue> {
        TaskId::new(format!("{}:{}", self.backend_type, self.session_id))
    }

    /// Returns how many turns a role has.
    #[must_use]
    pub fn count(&self, role: Role) -> usize {
        self.messages.iter().filter(|m| m.role == role).count()
    }

    /// Returns the earliest time of a turn, UTC. None when no turn has a time.
    #[must_use]
    pub fn first_timestamp(&self) -> Option<DateTime<Utc>> {
        self.messages.iter().filter_map(|m| m.timestamp).min()
    }

    /// Returns the latest time of a turn, UTC. None when no turn has a time.
    #[must_use]
    pub fn last_timestamp(&self) -> Option<DateTime<Utc>> {
        self.messages.iter().filter_map(|m| m.timestamp).max()
    }

    /// Returns what to append to `stored`, the task's whole history in order, so that the store
    /// has every word of the recording. Empty when it has them already.
    ///
    /// Turns are recognised by their keys. Of a message that was stored half-written only the
    /// rest is returned, as a further turn; an older or cut copy of the recording adds nothing;
    /// a message that says something else than the turn stored under its key is returned in
    /// full, under another key.
    ///
    /// ```
    /// use turnkeep_recordings::Recording;
    /// use turnkeep_model::ConversationTurn;
    ///
    /// fn lag(recording: &Recording, history: &[ConversationTurn]) -> usize {
    ///     recording.new_messages(history).len()
    /// }
    /// ```
    #[must_use]
    pub fn new_messages(&self, stored: &[ConversationTurn]) -> Vec<NewMessage<'_>> {
        merge::new_messages(&self.messages, stored)
    }
}
