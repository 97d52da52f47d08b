use std::io;

use turnkeep_model::{TaskId, visible};
use turnkeep_repo::ErrorKind;

/// The result of an operation on a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a store failed.
///
/// A message never contains the text of a conversation, and shows ids so that they cannot start a
/// line or send a control sequence to a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call to a store failed. Message and source come from the store's error.
    #[error(transparent)]
    Store(#[from] turnkeep_repo::Error),

    /// A copy or import of the task would overwrite something that only the destination has; or the
    /// stores differ after the copy. See [`copy`](crate::copy()).
    #[error("{operation}: task `{task_id}` {reason}", task_id = visible(task_id.as_str()))]
    Conflict {
        /// The function that was called.
        operation: &'static str,
        /// The task.
        task_id: TaskId,
        /// The reason, as a predicate of the task.
        reason: String,
    },

    /// A line of an export is damaged or out of place. The tasks before it are stored, nothing of its
    /// own task is. See [`import_jsonl`](crate::import_jsonl).
    #[error("import_jsonl: line {line} {reason}")]
    InvalidLine {
        /// The number of the line, from 1.
        line: u64,
        /// The fault, as a predicate of the line. The texts of the line are never part of it.
        reason: String,
    },

    /// The text of an export could not be read or written.
    #[error("{operation}: the text could not be read or written")]
    Text {
        /// The function that was called.
        operation: &'static str,
        /// The error of the caller's reader or writer.
        source: io::Error,
    },
}

impl Error {
    /// Returns the kind of the store's error, if a call to a store failed.
    #[must_use]
    pub fn store_kind(&self) -> Option<&ErrorKind> {
        match self {
            Self::Store(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// Returns whether the same call may succeed later without a repair.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }
}
