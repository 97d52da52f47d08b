use std::path::{Path, PathBuf};
use std::{fs, io, iter};

use turnkeep_model::BackendType;

use crate::claude;
use crate::codex;
use crate::detect::Format;
use crate::error::Error;
use crate::file_name::ROLLOUT_FOLDERS;
use crate::goose;
use crate::recording::Recording;

/// A file with recordings of one agent: a JSONL file with one session, or a Goose database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    backend: Option<BackendType>,
    format: Format,
}

impl Source {
    pub(crate) fn new(path: PathBuf, format: Format) -> Self {
        let backend = match format {
            Format::Claude => Some(BackendType::Claude),
            Format::Codex | Format::CodexSubAgent => Some(BackendType::Codex),
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

    /// Returns the agent that wrote it. `None` if the file could not be opened.
    #[must_use]
    pub fn backend(&self) -> Option<&BackendType> {
        self.backend.as_ref()
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Reads the sessions: one of a JSONL file, any number of a Goose database, in order of their ids. The
    /// iterator reads a session when it comes to it and holds only one in memory.
    ///
    /// The agent may be running. A message that it writes meanwhile is in this reading or in the next one.
    ///
    /// # Errors
    /// [`Error::OpenDatabase`], [`Error::Database`],
    /// [`Error::Busy`], [`Error::NoTables`], [`Error::TooLarge`] and [`Error::Temporary`] for a database that
    /// can't be read, [`Error::NotFound`], [`Error::NotAFile`] and [`Error::Io`] for a file that can't be opened. The items fail with [`Error::InvalidId`], [`Error::InvalidFolder`],
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
    ) -> Result<Box<dyn Iterator<Item = Result<Recording, Error>> + Send>, Error> {
        let read = match self.format {
            Format::Claude => |path: &Path| claude::read(&[path.to_owned()], true),
            Format::Codex | Format::CodexSubAgent => read_rollout,
            Format::GooseJsonl => goose::read_jsonl,
            Format::GooseDatabase => return Ok(Box::new(goose::Sessions::open(&self.path)?)),
            Format::Unreadable => return Err(unreadable(&self.path)),
        };
        let path = self.path.clone();
        Ok(Box::new(iter::once_with(move || read(&path))))
    }
}

/// Opens the path once more for the error of the operating system.
fn unreadable(path: &Path) -> Error {
    let again = match path.is_dir() {
        true => fs::read_dir(path).map(|_| ()),
        false => fs::File::open(path).map(|_| ()),
    };
    let source = again
        .err()
        .unwrap_or_else(|| io::Error::other("it could not be opened when the folder was searched"));
    Error::io(path)(source)
}

fn read_rollout(path: &Path) -> Result<Recording, Error> {
    let is_of_home = |folder: &&Path| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| ROLLOUT_FOLDERS.contains(&name))
    };
    let sessions = path.ancestors().skip(1).find(is_of_home);
    let home = sessions.and_then(Path::parent);
    let home = home.map(|home| codex::Home::new(home.to_owned()));
    codex::read(&[path.to_owned()], home.as_ref())
}
