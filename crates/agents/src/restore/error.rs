use std::io;
use std::path::{Path, PathBuf};

use turnkeep_repo::{BackendType, Error as StoreError, SessionId, TaskId};

/// The reason why a session was not put back. Files that were put back before it stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The store failed, or has no task or no session of that id.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The agent is none of Claude Code, Codex and Goose.
    #[error("sessions of {backend_type} can't be restored")]
    UnknownAgent {
        /// The agent of the binding.
        backend_type: BackendType,
    },
    /// The agent gives its sessions no such id, so no file can have its name.
    #[error("{backend_type} has no session with the id `{session_id}`")]
    InvalidSessionId {
        /// The agent of the binding.
        backend_type: BackendType,
        /// The id of the binding.
        session_id: SessionId,
    },
    /// The store has no words of the session, and no recording that its agent reads.
    #[error("the store has no recording of task `{task_id}` that its agent reads, and no turns")]
    NothingKept {
        /// The task.
        task_id: TaskId,
    },
    /// The binding has no working folder, after which Claude Code names the folder of its recordings.
    #[error("the folder in which the session of task `{task_id}` ran is not known")]
    NoWorkingDir {
        /// The task.
        task_id: TaskId,
    },
    /// A file differs from the store's, and is not the beginning of it. It may be newer.
    #[error("{} differs from the store's copy", path.display())]
    Differs {
        /// The file, which is unchanged.
        path: PathBuf,
    },
    /// Another project folder of Claude Code has the session, with words that the store does not have.
    #[error("{} has more of the session than the store", path.display())]
    OtherCopy {
        /// The file, which is unchanged.
        path: PathBuf,
    },
    /// A file changed while it was compared or replaced.
    #[error("{} was changed by another program", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A link or another thing that is no folder or regular file is in the way.
    #[error("{} is a link or no regular file", path.display())]
    NotAFile {
        /// The place, which is unchanged.
        path: PathBuf,
    },
    /// A file that was written has another content when read back.
    #[error("{} was not written as the store has it", path.display())]
    ReadBack {
        /// The place of the file, which was not put there.
        path: PathBuf,
    },
    /// Goose failed to import the session.
    #[error("{} did not import the session: {reason}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The last line of its errors, or what was wrong with its output.
        reason: String,
    },
    /// The database of Goose does not take the session. The database is unchanged.
    #[error("cannot write {}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// The error of SQLite.
        source: diesel::result::Error,
    },
    /// A file of the agent can't be read.
    #[error(transparent)]
    Recording(#[from] turnkeep_recordings::Error),
    /// A file or a folder can't be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The action: `read` or `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl RestoreError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io("read", path)
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io("write", path)
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
