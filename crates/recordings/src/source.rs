use std::path::{Path, PathBuf};
use std::{fs, io, iter};

use turnkeep_model::{BackendType, InvalidValue, SessionId, WorkingDir};

use crate::key::{self, Draft};
use crate::{Error, Recording, claude, codex, goose};

/// A file that holds recordings of one agent: a session each, or a Goose database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    backend: Option<BackendType>,
    format: Format,
}

/// How the file of a [`Source`] is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Claude,
    Codex,
    GooseJsonl,
    GooseDatabase,
    /// A Codex rollout under Zstandard.
    Compressed,
    /// A file or folder that the system gave no look at.
    Unreadable,
}

impl Source {
    pub(crate) fn new(path: PathBuf, format: Format) -> Self {
        let backend = match format {
            Format::Claude => Some(BackendType::Claude),
            Format::Codex | Format::Compressed => Some(BackendType::Codex),
            Format::GooseJsonl | Format::GooseDatabase => Some(BackendType::Goose),
            Format::Unreadable => None,
        };
        Self {
            path,
            backend,
            format,
        }
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the agent that wrote it, `None` when nobody could look.
    #[must_use]
    pub fn backend(&self) -> Option<&BackendType> {
        self.backend.as_ref()
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Reads the sessions: one of a JSONL file, any number of a Goose database, in order of
    /// their ids. Each is read when the iterator comes to it, so that only one is in memory.
    ///
    /// The agent may be running. What it writes meanwhile is in this reading or in the next one.
    ///
    /// # Errors
    /// [`Error::Compressed`] for a compressed file, [`Error::OpenDatabase`], [`Error::Database`]
    /// and [`Error::Busy`] when a database can't be read, [`Error::NotFound`] and [`Error::Io`]
    /// when a file can't. The items fail with [`Error::InvalidId`], [`Error::InvalidFolder`],
    /// [`Error::NotFound`], [`Error::Io`] or [`Error::Database`], each for its session only.
    ///
    /// ```no_run
    /// for source in turnkeep_recordings::find("/home/ada/.codex".as_ref(), None)? {
    ///     for recording in source.sessions()? {
    ///         let recording = recording?;
    ///         println!("{} {}", recording.session_id, recording.messages.len());
    ///     }
    /// }
    /// # Ok::<(), turnkeep_recordings::Error>(())
    /// ```
    pub fn sessions(
        &self,
    ) -> Result<impl Iterator<Item = Result<Recording, Error>> + use<>, Error> {
        let read = match self.format {
            Format::Claude => claude::read,
            Format::Codex => codex::read,
            Format::GooseJsonl => goose::read_jsonl,
            Format::GooseDatabase => {
                let sessions = goose::Sessions::open(&self.path)?;
                return Ok(Sessions::Database(sessions));
            }
            Format::Compressed => {
                let path = self.path.clone();
                return Err(Error::Compressed { path });
            }
            Format::Unreadable => return Err(unreadable(&self.path)),
        };
        let path = self.path.clone();
        Ok(Sessions::File(iter::once_with(move || read(&path))))
    }
}

/// What the system says to reading the path once more.
fn unreadable(path: &Path) -> Error {
    let again = match path.is_dir() {
        true => fs::read_dir(path).map(|_| ()),
        false => fs::File::open(path).map(|_| ()),
    };
    let source = again.err().unwrap_or_else(|| {
        io::Error::other("it could not be read when the folder was searched; try again")
    });
    Error::io(path)(source)
}

/// What [`Source::sessions`] returns.
enum Sessions<F> {
    File(F),
    Database(goose::Sessions),
}

impl<F: Iterator<Item = Result<Recording, Error>>> Iterator for Sessions<F> {
    type Item = Result<Recording, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::File(file) => file.next(),
            Self::Database(database) => database.next(),
        }
    }
}

/// What a reader found out about a session, not checked yet.
pub(crate) struct Session {
    pub(crate) backend_type: BackendType,
    pub(crate) id: String,
    pub(crate) working_dir: Option<String>,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) unparsable_lines: u64,
}

impl Session {
    /// Without an id there is no session. Nor is there one whose id or folder has a control character:
    /// both go into a command for a shell. A folder that no store accepts for another reason is left out.
    pub(crate) fn into_recording(self, path: &Path) -> Result<Recording, Error> {
        let session_id = InvalidValue::check_printable("session id", &self.id)
            .and_then(|()| SessionId::new(self.id))
            .map_err(|source| Error::InvalidId {
                path: path.to_owned(),
                source,
            })?;
        if let Some(dir) = &self.working_dir {
            InvalidValue::check_printable("working folder", dir).map_err(|source| {
                Error::InvalidFolder {
                    path: path.to_owned(),
                    session_id: session_id.clone(),
                    source,
                }
            })?;
        }
        Ok(Recording {
            backend_type: self.backend_type,
            session_id,
            working_dir: self.working_dir.and_then(|dir| WorkingDir::new(dir).ok()),
            messages: key::assign(self.drafts),
            unparsable_lines: self.unparsable_lines,
            path: path.to_owned(),
        })
    }
}

/// The file's name without its extension.
pub(crate) fn file_stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Whether a text has the form `8-4-4-4-12` of hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Claude Code 2.0 kept its sub-agents beside the sessions.
pub(crate) fn is_agent_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"agent-")
}

pub(crate) fn has_suffix(path: &Path, suffix: &str) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().ends_with(suffix.as_bytes())
}
