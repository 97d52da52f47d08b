use std::fmt;

use chrono::{DateTime, Utc};
use turnkeep_model::{MessageKey, Role};

/// A turn as a reader found it, before it has a key.
pub(crate) struct Draft {
    pub(crate) role: Role,
    /// Its text. A draft without any is no turn.
    pub(crate) content: String,
    pub(crate) timestamp: Option<DateTime<Utc>>,
    /// The agent's own id of the message.
    pub(crate) id: Option<String>,
}

/// The role of a message that can be a turn: `user` or `assistant`.
pub(crate) fn turn_role(name: &str) -> Option<Role> {
    let role = name.parse().ok()?;
    matches!(role, Role::User | Role::Assistant).then_some(role)
}

/// One turn of a recording.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedMessage {
    /// Who said it: the user or the assistant.
    pub role: Role,
    /// What was said, never blank.
    pub content: String,
    /// When, UTC. None when the recording has no usable time.
    pub timestamp: Option<DateTime<Utc>>,
    /// The agent's id of the message, or a name derived from what was said
    /// (`sha256:<32 hex digits>#<number>`) where it has none.
    pub key: MessageKey,
    pub(crate) origin: KeyOrigin,
}

/// Where the key of a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// It is the agent's own id: the same message for ever, even if its text grows.
    Agent,
    /// It is derived from the content: another text is another key.
    Content,
}

impl fmt::Debug for RecordedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedMessage")
            .field("role", &self.role)
            .field("content", &format_args!("<{} bytes>", self.content.len()))
            .field("timestamp", &self.timestamp)
            .field("key", &self.key)
            .finish()
    }
}
