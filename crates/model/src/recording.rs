use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::number::number;
use crate::short_text::short_text;
use crate::{InvalidValue, TaskId, UtcMicros};

short_text! {
    /// The name of a recording: 1 to 1024 bytes, a relative path with `/` between its components.
    ///
    /// No component is empty, `.` or `..`, and no character is a backslash or a control character, so that a file of this
    /// name is below whatever folder it is written to. For the agents' own files it is their path below the agent's
    /// home.
    ///
    /// ```
    /// use turnkeep_model::RecordingName;
    ///
    /// let name = RecordingName::new("projects/-srv-app/6f1d2c3b.jsonl")?;
    /// assert_eq!(name.as_str(), "projects/-srv-app/6f1d2c3b.jsonl");
    /// assert!(RecordingName::new("../6f1d2c3b.jsonl").is_err());
    /// # Ok::<(), turnkeep_model::InvalidValue>(())
    /// ```
    RecordingName, "recording name", 1024, check_path
}

fn check_path(text: &str) -> Result<(), InvalidValue> {
    let reason = if text.contains(|it: char| it == '\\' || it.is_control()) {
        "has a backslash or a control character"
    } else if text.split('/').any(|it| matches!(it, "" | "." | "..")) {
        "has an empty component, `.` or `..`"
    } else {
        return Ok(());
    };
    Err(InvalidValue::new("recording name", reason))
}

number! {
    /// The number of a recording in its task. A later recording has a higher one; numbers may be missing.
    RecordingNumber, "recording number", from 1
}

/// A file that is kept for a task. The bytes are read by its number.
///
/// A file that was rewritten is two of these, with one name. The one with the higher number is its present state.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct RecordingFile {
    /// The task.
    pub task_id: TaskId,
    /// The number, higher than the ones of earlier files of the task.
    pub number: RecordingNumber,
    /// The name, which an earlier recording may have too.
    pub name: RecordingName,
    /// The bytes of the file.
    #[diesel(deserialize_as = i64)]
    pub length: u64,
    /// The bytes that it takes in the store, compressed.
    #[diesel(deserialize_as = i64)]
    pub stored_bytes: u64,
    /// When it was first saved, UTC.
    #[diesel(deserialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub created_at: DateTime<Utc>,
    /// When bytes were last added, UTC. Not earlier than before, if the clock was set back.
    #[diesel(deserialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub updated_at: DateTime<Utc>,
}

impl RecordingFile {
    /// The most bytes that a save takes, 16 MiB.
    pub const MAX_SAVED_BYTES: usize = 16 * Self::MAX_CHUNK_BYTES;

    /// The most bytes that a read returns, 1 MiB.
    pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_its_folder() {
        for name in ["a", "a/b", ".a/..b/c..", "-srv-app/é .jsonl", "a:b"] {
            assert!(RecordingName::new(name).is_ok(), "{name}");
        }
        for name in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/./b", "a\\b", "a\nb",
            "\u{9b}",
        ] {
            assert!(RecordingName::new(name).is_err(), "{name:?}");
        }
        assert!(RecordingName::new("a".repeat(1_024)).is_ok());
        assert!(RecordingName::new("a".repeat(1_025)).is_err());
    }
}
