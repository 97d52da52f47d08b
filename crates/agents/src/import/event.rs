use std::io;
use std::path::{Path, PathBuf};

use turnkeep_model::{visible, visible_path};
use turnkeep_recordings::Error as RecordingError;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{BackendType, InvalidValue, SessionId, TaskId, WorkingDir};

/// A step of an [`import`](crate::import()).
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportEvent {
    /// A session is imported: the store has all of its turns.
    Session(ImportedSession),
    /// The recording of a session has not changed since its last import, and was not read.
    Unchanged(SkippedSession),
    /// The task of the session was removed ([`Repo::remove_task`](turnkeep_repo::Repo::remove_task)), so the session
    /// is not imported.
    Removed(SkippedSession),
    /// A transaction has added this number of turns.
    TurnsAdded(i64),
    /// A file, or a part of one, was not imported for a reason that is no failure.
    Warning(ImportWarning),
    /// A file or a session could not be imported.
    Failed(ImportFailure),
    /// The next source of [`Found::sources`](turnkeep_recordings::Found::sources) was imported, passed over or
    /// has failed.
    SourceDone {
        /// The bytes that its files had before they were read ([`Source::bytes`](turnkeep_recordings::Source::bytes)).
        bytes: u64,
    },
}

/// The result for one session. If only the end of a file that has grown was read, what is "in the recording" is what the
/// task has of turns by now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedSession {
    /// The task that has the session.
    pub task_id: TaskId,
    /// The agent.
    pub backend_type: BackendType,
    /// The agent's own id of the session.
    pub session_id: SessionId,
    /// The folder in the recording.
    pub working_dir: Option<WorkingDir>,
    /// The number of turns of the user in the recording.
    pub user_turns: usize,
    /// The number of turns of the assistant in the recording.
    pub assistant_turns: usize,
    /// The earliest time of a turn in the recording, UTC.
    pub first_timestamp: Option<DateTime<Utc>>,
    /// The latest time of a turn in the recording, UTC.
    pub last_timestamp: Option<DateTime<Utc>>,
    /// The number of turns that this import has added.
    pub added_turns: i64,
    /// The number of damaged lines, or in a database of damaged messages.
    pub unparsable_lines: u64,
    /// The file that holds the session. Of several files, the one with the latest line.
    pub path: PathBuf,
    /// Whether the import has made the task.
    pub is_new: bool,
    /// The bytes of files that this import has kept.
    pub kept_bytes: u64,
}

/// A session that was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedSession {
    /// The agent.
    pub backend_type: BackendType,
    /// The agent's own id of the session.
    pub session_id: SessionId,
    /// The file that holds the session.
    pub path: PathBuf,
}

/// A file, or a part of one, that was not imported. The message names the file and shows nothing of its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportWarning {
    /// The file is no session.
    #[error(transparent)]
    Recording(#[from] RecordingError),

    /// A fork of Codex begins with a rollout that is not there. Its own turns were imported.
    #[error(
        "{} begins with the rollout {}, which is not there",
        visible_path(path),
        visible(parent)
    )]
    MissingParent {
        /// The file of the fork.
        path: PathBuf,
        /// The id of the rollout.
        parent: String,
    },

    /// The file claims a session that is known from elsewhere.
    #[error(
        "passed over {}, session `{}`: the session is known from elsewhere",
        visible_path(path),
        visible(session_id.as_str())
    )]
    KnownSession {
        /// The file.
        path: PathBuf,
        /// The session that it claims.
        session_id: SessionId,
    },

    /// The task that would get the session belongs to something else.
    #[error(
        "passed over {}, session `{}`: the task `{}` was never bound to this session",
        visible_path(path),
        visible(session_id.as_str()),
        visible(task_id.as_str())
    )]
    OtherTask {
        /// The file.
        path: PathBuf,
        /// The session.
        session_id: SessionId,
        /// The task.
        task_id: TaskId,
    },

    /// A session goes on although its task was removed: it has turns of a later time. They are not imported
    /// ([`Repo::lift_removal`](turnkeep_repo::Repo::lift_removal)).
    #[error(
        "{}: session `{}` goes on since its task `{}` was removed, and is not imported",
        visible_path(path),
        visible(session_id.as_str()),
        visible(task_id.as_str())
    )]
    GoesOn {
        /// The file.
        path: PathBuf,
        /// The session.
        session_id: SessionId,
        /// The removed task.
        task_id: TaskId,
    },

    /// A new task was made for a file of which neither the place nor the name proves its session.
    #[error(
        "only the content of {} says that it is session `{}`",
        visible_path(path),
        visible(session_id.as_str())
    )]
    OnlyClaimed {
        /// The file.
        path: PathBuf,
        /// The session that it claims.
        session_id: SessionId,
    },

    /// A file of a session could not be kept byte for byte. The words of the session were imported.
    #[error("{} is not kept", visible_path(path))]
    NotKept {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: KeepError,
    },

    /// Lines that are not JSON were skipped.
    #[error("{}: damaged lines skipped: {lines}", visible_path(path))]
    DamagedLines {
        /// The file.
        path: PathBuf,
        /// The number of lines.
        lines: u64,
    },
}

/// A file or a session that could not be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportFailure {
    /// The file, or a session in it, could not be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),

    /// The session could not be stored.
    #[error("{}, session `{}`", visible_path(path), visible(session_id.as_str()))]
    Session {
        /// The file.
        path: PathBuf,
        /// The session.
        session_id: SessionId,
        /// The cause.
        source: ImportError,
    },
}

impl ImportFailure {
    /// Returns the file. `None` if the failure is of no file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Recording(error) => error.path(),
            Self::Session { path, .. } => Some(path),
        }
    }
}

/// The reason for which a session could not be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The session's id is too long for the id of a task.
    #[error(transparent)]
    InvalidId(#[from] InvalidValue),
    /// A call to the store failed.
    #[error(transparent)]
    Store(#[from] turnkeep_repo::Error),
}

/// The reason for which a file could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The file could not be opened, or the database could not be exported.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The path below the home of the agent is no name for a kept file.
    #[error(transparent)]
    InvalidName(#[from] InvalidValue),
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A call to the store failed.
    #[error(transparent)]
    Store(#[from] turnkeep_repo::Error),
}
