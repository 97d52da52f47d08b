use std::io;
use std::path::{Path, PathBuf};

use turnkeep_model::{BackendType, InvalidValue, SessionId, visible, visible_path};

/// A failure to find or read a recording.
///
/// The message names the file and shows nothing of its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no file or folder at this path.
    #[error("{} does not exist", visible_path(path))]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder could not be read.
    #[error("cannot read {}", visible_path(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not a recording of a known agent.
    #[error(
        "{} is not a recording of Claude Code, Codex or Goose",
        visible_path(path)
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file records a sub-agent, which belongs to its parent's session.
    #[error(
        "{} records a sub-agent, which has no session of its own",
        visible_path(path)
    )]
    SubAgent {
        /// The file.
        path: PathBuf,
    },
    /// The path is a pipe, a device or a socket.
    #[error("{} is not a regular file", visible_path(path))]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file looks like a session, but does not lie where its agent keeps sessions.
    #[error(
        "{} is no session: its agent keeps sessions in another place",
        visible_path(path)
    )]
    Elsewhere {
        /// The file.
        path: PathBuf,
    },
    /// The name of the file and its lines have different sessions.
    #[error(
        "{} is no session: its name is not the id of the session in its lines",
        visible_path(path)
    )]
    OtherSession {
        /// The file.
        path: PathBuf,
    },
    /// The link leads out of the folder that is searched.
    #[error("{} leads out of the folder", visible_path(path))]
    LeadsOut {
        /// The link.
        path: PathBuf,
    },
    /// The name of a file can't be kept: it is not UTF-8, or has a backslash or a control character.
    #[error("{} cannot be kept under its name", visible_path(path))]
    InvalidName {
        /// The file.
        path: PathBuf,
    },
    /// The folder of a session has more than 100,000 files, or more than 16 levels.
    #[error("{} has too many files or levels", visible_path(path))]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
    },
    /// A text is not the event of a session that an agent gives a hook.
    #[error("the input is not an event that an agent reports to a hook")]
    NoEvent,
    /// There is no reader for the recordings of this agent.
    #[error("recordings of {backend} cannot be read", backend = visible(backend.as_str()))]
    UnsupportedBackend {
        /// The agent.
        backend: BackendType,
    },
    /// The id of a session is not a valid [`SessionId`], or has a control character.
    #[error("a session in {} has an invalid id", visible_path(path))]
    InvalidId {
        /// The file.
        path: PathBuf,
        /// The rule that the id breaks.
        source: InvalidValue,
    },
    /// The id of a session in a database is not a text in UTF-8. Another id could become the same text.
    #[error(
        "a session in {} has an id that is not a text in UTF-8",
        visible_path(path)
    )]
    NoTextId {
        /// The database.
        path: PathBuf,
    },
    /// The working folder of a session has a control character. The command that resumes the session would
    /// pass it to a shell.
    #[error(
        "session `{}` in {} has an invalid working folder",
        visible(session_id.as_str()),
        visible_path(path)
    )]
    InvalidFolder {
        /// The file.
        path: PathBuf,
        /// The session.
        session_id: SessionId,
        /// The rule that the folder breaks.
        source: InvalidValue,
    },
    /// A database could not be opened.
    #[error("cannot open the database {}", visible_path(path))]
    OpenDatabase {
        /// The database.
        path: PathBuf,
        /// The error of SQLite.
        source: diesel::ConnectionError,
    },
    /// A database could not be queried.
    #[error("cannot read the database {}", visible_path(path))]
    Database {
        /// The database.
        path: PathBuf,
        /// The error of SQLite.
        source: diesel::result::Error,
    },
    /// A database has something else in place of a table of Goose, such as a view, which may never end.
    #[error(
        "the database {} has a view or another program's table in place of a table of Goose",
        visible_path(path)
    )]
    NoTables {
        /// The database.
        path: PathBuf,
    },
    /// A database is too large to be copied, or has more rows or bytes in them than fit into it. Or a
    /// compressed file is far larger than any that an agent writes.
    #[error("{} is too large to be read", visible_path(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A database could not be copied into the folder for temporary files.
    #[error(
        "cannot copy the database {} to {}",
        visible_path(path),
        visible_path(folder)
    )]
    Temporary {
        /// The database.
        path: PathBuf,
        /// The folder for temporary files.
        folder: PathBuf,
        /// The error of the operating system, such as a full disk.
        source: io::Error,
    },
    /// A database changed during each attempt to copy it.
    #[error(
        "the database {} changed during each attempt to copy it",
        visible_path(path)
    )]
    Busy {
        /// The database.
        path: PathBuf,
    },
}

impl Error {
    /// Returns the file or folder. `None` if the failure is of none.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::NoEvent | Self::UnsupportedBackend { .. } => None,
            Self::NotFound { path, .. }
            | Self::Io { path, .. }
            | Self::UnknownFormat { path, .. }
            | Self::SubAgent { path, .. }
            | Self::NotAFile { path, .. }
            | Self::Elsewhere { path, .. }
            | Self::OtherSession { path, .. }
            | Self::LeadsOut { path, .. }
            | Self::InvalidName { path, .. }
            | Self::TooManyFiles { path, .. }
            | Self::InvalidId { path, .. }
            | Self::NoTextId { path, .. }
            | Self::InvalidFolder { path, .. }
            | Self::OpenDatabase { path, .. }
            | Self::Database { path, .. }
            | Self::NoTables { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Temporary { path, .. }
            | Self::Busy { path, .. } => Some(path),
        }
    }

    /// Adds the path to an I/O error, for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => Self::NotFound { path },
                _ => Self::Io { path, source },
            }
        }
    }

    /// Adds the path of the database to the error of a query, for `map_err`.
    pub(crate) fn database(path: &Path) -> impl FnOnce(diesel::result::Error) -> Self {
        move |source| Self::Database {
            path: path.to_owned(),
            source,
        }
    }
}
