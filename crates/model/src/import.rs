use chrono::{DateTime, Utc};
use diesel::prelude::*;
use turnkeep_schema::{imported_files, removed_sessions};

use crate::{BackendType, HostName, InvalidValue, SessionId, TaskId, UtcMicros};

/// A session whose task was removed for good, so that an import leaves it out.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[diesel(table_name = removed_sessions, treat_none_as_default_value = false)]
#[non_exhaustive]
pub struct RemovedSession {
    /// The agent.
    pub backend_type: BackendType,
    /// The agent's id of the session.
    pub session_id: SessionId,
    /// The task that was removed.
    pub task_id: TaskId,
    /// When it was removed, UTC.
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub removed_at: DateTime<Utc>,
}

/// What an import has read of a file, so that the next one need not read it again.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = imported_files, treat_none_as_default_value = false, treat_none_as_null = true)]
#[non_exhaustive]
pub struct ImportedFile {
    /// The machine. A path says nothing on another one.
    pub host: HostName,
    /// The canonical path, 1 to 2,048 bytes. It need not be UTF-8.
    pub path: Vec<u8>,
    /// The length in bytes, at most 2^53 − 1.
    pub size: i64,
    /// The time of the last change, in nanoseconds since 1970. −1 if the file may change again within that time.
    pub modified_ns: i64,
    /// What tells the file from another one of the same path, at most 64 bytes without NUL.
    pub inode: String,
    /// The bytes from the beginning, at most `size`, whose words need not be read again when the file has grown. 0 if all
    /// have to be.
    pub settled: i64,
    /// The bytes from the beginning, at most `size`, that the store has: all of a file that is kept or need not be, those of
    /// an earlier import if only the words were wanted.
    pub kept: i64,
    /// The version of the rules by which it was read, at most 2^53 − 1.
    pub reader: i64,
    /// The agent.
    pub backend_type: BackendType,
    /// The session. `None` for a file of several.
    pub session_id: Option<SessionId>,
}

impl ImportedFile {
    /// Makes one of an empty file. Its other fields are numbers 0, empty and `None`.
    #[must_use]
    pub fn new(host: HostName, path: impl Into<Vec<u8>>, backend_type: BackendType) -> Self {
        Self {
            host,
            path: path.into(),
            size: 0,
            modified_ns: 0,
            inode: String::new(),
            settled: 0,
            kept: 0,
            reader: 0,
            backend_type,
            session_id: None,
        }
    }

    /// Checks the limits of the fields.
    ///
    /// # Errors
    /// [`InvalidValue`] for the first field that breaks its rule.
    pub fn check(&self) -> Result<(), InvalidValue> {
        const MAX: i64 = (1 << 53) - 1;
        let fields = [
            (
                "path",
                (1..=2_048).contains(&self.path.len()),
                "is not 1 to 2048 bytes long",
            ),
            (
                "inode",
                self.inode.len() <= 64 && !self.inode.contains('\0'),
                "has more than 64 bytes, or a NUL",
            ),
            (
                "size",
                (0..=MAX).contains(&self.size),
                "is outside 0 to 2^53 - 1",
            ),
            (
                "settled",
                (0..=self.size).contains(&self.settled),
                "is outside 0 to the size",
            ),
            (
                "kept",
                (0..=self.size).contains(&self.kept),
                "is outside 0 to the size",
            ),
            (
                "reader",
                (0..=MAX).contains(&self.reader),
                "is outside 0 to 2^53 - 1",
            ),
        ];
        match fields.into_iter().find(|(_, is_valid, _)| !is_valid) {
            Some((field, _, reason)) => Err(InvalidValue::new(field, reason)),
            None => Ok(()),
        }
    }
}
