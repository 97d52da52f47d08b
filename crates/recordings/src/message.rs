use std::fmt;

use chrono::{DateTime, Utc};
use turnkeep_model::{MessageKey, Role};

/// A turn as it was read, before it has a key.
pub(crate) struct Draft {
    pub(crate) role: Role,
    /// Empty if the message has no text for people. Such a draft becomes no turn.
    pub(crate) content: String,
    pub(crate) timestamp: Option<DateTime<Utc>>,
    /// The agent's own id of the message.
    pub(crate) id: Option<String>,
    /// The ids of the prompts that this line repeats. An import between the two has stored those.
    pub(crate) earlier_ids: Vec<String>,
}

/// Returns the role of a message that can be a turn: `user` or `assistant`.
pub(crate) fn turn_role(name: &str) -> Option<Role> {
    let role = name.parse().ok()?;
    matches!(role, Role::User | Role::Assistant).then_some(role)
}

/// One turn of a recording.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedMessage {
    /// The user or the assistant.
    pub role: Role,
    /// The text, never blank.
    pub content: String,
    /// The time in the recording, UTC. `None` if it has no valid one.
    pub timestamp: Option<DateTime<Utc>>,
    /// The agent's id of the message. Without one, a key derived from the content:
    /// `sha256:<32 hex digits>#<number>`.
    pub key: MessageKey,
    pub(crate) origin: KeyOrigin,
    /// Keys under which parts of the text may be stored, in order.
    pub(crate) earlier_keys: Vec<MessageKey>,
}

/// The origin of a message's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// The agent's own id. The key stays the same when the text grows.
    Agent,
    /// Derived from the content. Another text has another key.
    Content,
    /// Reported to a hook. The recording has the message under another key.
    Hook,
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
