use std::io;
use std::path::{Path, PathBuf};

use turnkeep_model::{BackendType, InvalidValue, SessionId, visible, visible_path};

/// Why a recording could not be found or read.
///
/// Names the file, never anything that is written in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this path.
    #[error("{} does not exist", visible_path(path))]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The operating system refused to read a file or folder, or to make a temporary copy.
    #[error("cannot read {}", visible_path(path))]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is a recording of none of the known agents.
    #[error(
        "{} is no recording of Claude Code, Codex or Goose",
        visible_path(path)
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file records a sub-agent, which is a part of its parent's session.
    #[error(
        "{} records a sub-agent, which is no session of its own",
        visible_path(path)
    )]
    SubAgent {
        /// The file.
        path: PathBuf,
    },
    /// The file is compressed with Zstandard, which is not read yet.
    #[error("{} is compressed; decompress it first (zstd -d)", visible_path(path))]
    Compressed {
        /// The file.
        path: PathBuf,
    },
    /// There is no reader for this agent.
    #[error("recordings of {backend} cannot be read", backend = visible(backend.as_str()))]
    UnsupportedBackend {
        /// The agent that was asked for.
        backend: BackendType,
    },
    /// A session has an id that no store accepts, or one with a control character.
    #[error("a session in {} cannot be named", visible_path(path))]
    InvalidId {
        /// The file.
        path: PathBuf,
        /// What is wrong with the id.
        source: InvalidValue,
    },
    /// A session ran in a folder whose name has a control character, which `resume` would hand to a
    /// shell.
    #[error(
        "session `{}` in {} can't be resumed from its folder",
        visible(session_id.as_str()),
        visible_path(path)
    )]
    InvalidFolder {
        /// The file.
        path: PathBuf,
        /// The session.
        session_id: SessionId,
        /// What is wrong with the folder.
        source: InvalidValue,
    },
    /// A database could not be opened.
    #[error("cannot open the database {}", visible_path(path))]
    OpenDatabase {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: diesel::ConnectionError,
    },
    /// A database could not be queried.
    #[error("cannot read the database {}", visible_path(path))]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: diesel::result::Error,
    },
    /// A database changed every time a copy of it was made.
    #[error("the database {} keeps changing; try again later", visible_path(path))]
    Busy {
        /// The database.
        path: PathBuf,
    },
}

impl Error {
    /// Says which file an I/O error is about: for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => Self::NotFound { path },
                _ => Self::Io { path, source },
            }
        }
    }

    /// Says which database a query failed in: for `map_err`.
    pub(crate) fn database(path: &Path) -> impl FnOnce(diesel::result::Error) -> Self {
        move |source| Self::Database {
            path: path.to_owned(),
            source,
        }
    }
}
