use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};

use crate::redact::Redacted;
use crate::{MessageKey, Role, TaskId};

/// Longest content, prompt, result or error text, in bytes: 256 MiB.
///
/// Far below what the engines take (10^9 bytes), so that a text which can be written can also
/// be read back through every layer in between.
pub const MAX_TEXT_BYTES: usize = 256 * 1024 * 1024;

/// One turn of a conversation, as it is stored: never changed, gone only with its task.
#[derive(Clone, PartialEq, Eq)]
pub struct ConversationTurn {
    /// The task the turn belongs to.
    pub task_id: TaskId,
    /// 1 for the task's first turn, then 2, 3, … without gaps. This alone orders a history.
    pub seq: i64,
    /// Who said it.
    pub role: Role,
    /// What was said, byte for byte. May be empty, may contain NUL, on every engine.
    pub content: String,
    /// When, UTC, to the microsecond: the caller's time, or the clock's at the write. May step
    /// back from one turn to the next.
    pub timestamp: DateTime<Utc>,
    /// The caller's name for the message, unique in its task.
    pub message_key: Option<MessageKey>,
}

impl fmt::Debug for ConversationTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConversationTurn")
            .field("task_id", &self.task_id)
            .field("seq", &self.seq)
            .field("role", &self.role)
            .field("content", &Redacted::text(&self.content))
            .field("timestamp", &self.timestamp)
            .field("message_key", &self.message_key)
            .finish()
    }
}

/// A message to append to a task's history.
///
/// ```
/// use turnkeep_model::{MessageKey, NewMessage, Role};
///
/// let message = NewMessage::new(Role::User, "Why is the build red?")
///     .key(MessageKey::new("829f3b95")?);
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// Who says it.
    pub role: Role,
    /// What is said: at most [`MAX_TEXT_BYTES`].
    pub content: Cow<'a, str>,
    /// When it was said. By default the clock's time at the write.
    pub timestamp: Option<DateTime<Utc>>,
    /// The caller's name for it, by which a repeat is recognised. None by default.
    pub key: Option<MessageKey>,
}

impl<'a> NewMessage<'a> {
    /// Makes a message without a key, to be stamped by the clock.
    #[must_use]
    pub fn new(role: Role, content: impl Into<Cow<'a, str>>) -> Self {
        Self {
            role,
            content: content.into(),
            timestamp: None,
            key: None,
        }
    }

    /// Sets the time it was said, kept to the microsecond.
    #[must_use]
    pub fn timestamp(mut self, timestamp: DateTime<Utc>) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets the key by which saving it again is recognised.
    #[must_use]
    pub fn key(mut self, key: MessageKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Makes the message independent of the text it was made from, copying it if need be.
    ///
    /// ```
    /// use turnkeep_model::{NewMessage, Role};
    ///
    /// let text = String::from("Why is the build red?");
    /// let message = NewMessage::new(Role::User, &text).into_owned();
    /// drop(text);
    /// assert_eq!(message.content, "Why is the build red?");
    /// ```
    #[must_use]
    pub fn into_owned(self) -> NewMessage<'static> {
        NewMessage {
            role: self.role,
            content: Cow::Owned(self.content.into_owned()),
            timestamp: self.timestamp,
            key: self.key,
        }
    }
}

impl fmt::Debug for NewMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("role", &self.role)
            .field("content", &Redacted::text(&self.content))
            .field("timestamp", &self.timestamp)
            .field("key", &self.key)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let shown = format!("{:?}", NewMessage::new(Role::User, "secret words"));
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("<12 bytes>"), "{shown}");
    }
}
