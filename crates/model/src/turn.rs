use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};

use crate::redact::Redacted;
use crate::{MessageKey, Metadata, Role, Seq, TaskId};

/// The length limit of a content, prompt, result or error, in bytes: 256 MiB.
///
/// Far below the limit of the engines (10^9 bytes), so that every layer can read a text that was written.
pub const MAX_TEXT_BYTES: usize = 256 * 1024 * 1024;

/// A stored turn of a conversation. Never changes, and is deleted only with its task.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct ConversationTurn {
    /// The task.
    pub task_id: TaskId,
    /// Its number. Only this orders a history.
    pub seq: Seq,
    /// The speaker.
    pub role: Role,
    /// The text, unchanged. May be empty and may contain NUL, on every engine.
    pub content: String,
    /// The caller's time, or the time of the write, UTC, in microseconds. May be earlier than in the
    /// previous turn.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub timestamp: DateTime<Utc>,
    /// The caller's id of the message, unique in its task.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub message_key: Option<MessageKey>,
    /// The caller's own data.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub metadata: Option<Metadata>,
}

impl ConversationTurn {
    /// Makes a turn without key and metadata. A host's own tests need it; a store returns its turns.
    #[must_use]
    #[inline]
    pub fn new(
        task_id: TaskId,
        seq: Seq,
        role: Role,
        content: String,
        timestamp: DateTime<Utc>,
    ) -> Self {
        Self {
            task_id,
            seq,
            role,
            content,
            timestamp,
            message_key: None,
            metadata: None,
        }
    }
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
            .field("metadata", &self.metadata)
            .finish()
    }
}

/// A message to append to a task's history.
///
/// ```
/// use turnkeep_model::{MessageKey, Metadata, NewMessage, Role};
///
/// let message = NewMessage::new(Role::User, "Why is the build red?")
///     .key(MessageKey::new("829f3b95")?)
///     .metadata(Metadata::new(r#"{"model": "opus"}"#)?);
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct NewMessage<'a> {
    /// The speaker.
    pub role: Role,
    /// The text, at most [`MAX_TEXT_BYTES`] long.
    pub content: Cow<'a, str>,
    /// The time of the message. By default the time of the write.
    #[cfg_attr(
        feature = "serde",
        serde(default, with = "crate::serde_support::optional_micros")
    )]
    pub timestamp: Option<DateTime<Utc>>,
    /// The caller's id of the message, which makes saving it idempotent. `None` by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub key: Option<MessageKey>,
    /// The caller's own data, such as tool calls, model and tokens. `None` by default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub metadata: Option<Metadata>,
}

impl<'a> NewMessage<'a> {
    /// Makes a message without key, time and metadata.
    #[must_use]
    pub fn new(role: Role, content: impl Into<Cow<'a, str>>) -> Self {
        Self {
            role,
            content: content.into(),
            timestamp: None,
            key: None,
            metadata: None,
        }
    }

    /// Sets the time of the message, rounded down to a microsecond.
    #[must_use]
    pub fn timestamp(mut self, timestamp: DateTime<Utc>) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets the key, which makes saving the message idempotent.
    #[must_use]
    pub fn key(mut self, key: MessageKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the caller's own data, part of the message: with other metadata a repeated key is a conflict.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Makes the message own its text, copying it if it is borrowed.
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
            metadata: self.metadata,
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
            .field("metadata", &self.metadata)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let metadata = Metadata::new(r#"{"k":"secret"}"#).unwrap();
        let message = NewMessage::new(Role::User, "secret words").metadata(metadata);
        let shown = format!("{message:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(
            shown.contains("<12 bytes>") && shown.contains("<14 bytes>"),
            "{shown}"
        );
    }
}
