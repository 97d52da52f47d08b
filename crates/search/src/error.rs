use std::path::PathBuf;

use turnkeep_model::{RecordingName, TaskId, visible, visible_path};

/// The result of a call to an index.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of an error. It is opaque, so that a new major version of a driver is no new version of this crate.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed.
///
/// A message never contains the text of a conversation or of a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call to the store failed. Message and source come from the store's error.
    #[error(transparent)]
    Store(#[from] turnkeep_repo::Error),

    /// The recording of a session, in which its tool calls are, can't be read: it is damaged in the store, too large, or
    /// gone since it was listed.
    #[error("the kept file `{name}` of task `{task_id}` can't be read", task_id = visible(task_id.as_str()), name = visible(name.as_str()))]
    Recording {
        /// The task.
        task_id: TaskId,
        /// The name of the kept file.
        name: RecordingName,
        /// The error of the store, of the reader or of the operating system.
        source: Source,
    },

    /// The query can't find anything.
    #[error("search: the query {reason}")]
    InvalidQuery {
        /// The fault, as a predicate of the query.
        reason: &'static str,
    },

    /// The path leads to something else than an index, or a file beside it is not the index's own. It was not changed.
    /// Choose another path, or remove the file.
    #[error("{operation}: `{path}` {reason}", path = visible_path(path))]
    NotAnIndex {
        /// The method that was called.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The difference, as a predicate of the file.
        reason: &'static str,
    },

    /// Other processes kept the index locked for five seconds. The call may be repeated.
    #[error("{operation}: other processes keep the index `{path}` locked", path = visible_path(path))]
    Busy {
        /// The method that was called.
        operation: &'static str,
        /// The index.
        path: PathBuf,
    },

    /// The index could not be read after it had been made anew.
    #[error("{operation}: the index `{path}` is damaged", path = visible_path(path))]
    Damaged {
        /// The method that was called.
        operation: &'static str,
        /// The index.
        path: PathBuf,
        /// SQLite's error.
        source: Source,
    },

    /// The file of the index could not be read or written: the disk is full, the folder is read-only or does not
    /// exist, the file belongs to another user, or SQLite was built without FTS5.
    #[error("{operation}: the index `{path}` could not be read or written", path = visible_path(path))]
    File {
        /// The method that was called.
        operation: &'static str,
        /// The index.
        path: PathBuf,
        /// The error of SQLite or of the operating system.
        source: Source,
    },
}

impl Error {
    /// Returns whether the same call may succeed later without a repair.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Busy { .. } => true,
            _ => false,
        }
    }
}
