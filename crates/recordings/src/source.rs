use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io, iter};

use turnkeep_model::BackendType;

use crate::claude;
use crate::codex;
use crate::detect::Format;
use crate::error::Error;
use crate::file_name::has_suffix;
use crate::goose;
use crate::open::open;
use crate::recording::Recording;

/// Recordings of one agent: the files of one session, a Goose database, or the prompt history of Claude Code.
#[derive(Debug, Clone)]
pub struct Source {
    files: Vec<PathBuf>,
    backend: Option<BackendType>,
    format: Format,
    identity: Identity,
    /// The Codex home that has the files.
    codex_home: Option<Arc<codex::Home>>,
}

/// The reason to believe that a file is of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The file's name is the session's.
    Name(String),
    /// The user named the file.
    User,
    /// Only the file says so.
    Claim,
    /// The file has many sessions.
    Many,
}

impl Source {
    pub(crate) fn new(path: PathBuf, format: Format, identity: Identity) -> Self {
        Self {
            files: vec![path],
            backend: format.backend(),
            format,
            identity,
            codex_home: None,
        }
    }

    pub(crate) fn unreadable(path: PathBuf) -> Self {
        // Only Codex compresses its files.
        let backend = has_suffix(&path, ".zst").then_some(BackendType::Codex);
        Self {
            backend,
            ..Self::new(path, Format::Unreadable, Identity::Many)
        }
    }

    pub(crate) fn in_home(self, home: Option<Arc<codex::Home>>) -> Self {
        Self {
            codex_home: home,
            ..self
        }
    }

    /// Returns the file, of several the first.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.files[0]
    }

    /// Returns all files.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns the agent that wrote it. `None` if the file could not be opened.
    #[must_use]
    pub fn backend(&self) -> Option<&BackendType> {
        self.backend.as_ref()
    }

    /// Whether only the file's content names its session, and neither its name nor the user. Such a file must
    /// not add to a session that is known otherwise.
    #[must_use]
    pub fn is_claim(&self) -> bool {
        self.identity == Identity::Claim
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Returns the session, if the file's name tells it and the session may have several files.
    pub(crate) fn session(&self) -> Option<(BackendType, String)> {
        match (&self.identity, self.format) {
            (Identity::Name(id), Format::Claude | Format::Codex) => {
                Some((self.backend.clone()?, id.clone()))
            }
            _ => None,
        }
    }

    /// The order of reading: a weak proof of a session after the better ones.
    pub(crate) fn rank(&self) -> u8 {
        match (self.format, &self.identity) {
            (Format::ClaudeHistory, _) => 2,
            (_, Identity::Claim) => 1,
            _ => 0,
        }
    }

    /// Adds the files of another source of the same session.
    pub(crate) fn add_files(&mut self, other: Self) {
        for path in other.files {
            if !self.files.contains(&path) {
                self.files.push(path);
            }
        }
        self.codex_home = self.codex_home.take().or(other.codex_home);
    }

    /// Reads the sessions: one of a JSONL file, any number of a Goose database, in order of their ids. The
    /// iterator reads a session when it comes to it and holds only one in memory.
    ///
    /// The agent may be running. A message that it writes meanwhile is in this reading or in the next one.
    ///
    /// # Errors
    /// [`Error::OpenDatabase`], [`Error::Database`], [`Error::Busy`], [`Error::NoTables`],
    /// [`Error::TooLarge`] and [`Error::Temporary`] for a database that can't be read, [`Error::NotFound`],
    /// [`Error::NotAFile`] and [`Error::Io`] for a file that can't be opened. The items fail with
    /// [`Error::OtherSession`], [`Error::InvalidId`], [`Error::InvalidFolder`], [`Error::NotFound`],
    /// [`Error::Io`] or [`Error::Database`], each for its session only.
    ///
    /// ```no_run
    /// for source in turnkeep_recordings::find("/home/ada/.codex".as_ref(), None)?.sources {
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
        let Self {
            files, identity, ..
        } = self.clone();
        let path = self.path().to_owned();
        let is_named = identity == Identity::User;
        Ok(match self.format {
            Format::Claude => Box::new(iter::once_with(move || claude::read(&files, is_named))),
            Format::ClaudeLog => Box::new(iter::once_with(move || claude::read_log(&path))),
            Format::ClaudeHistory => Box::new(claude::History::read(&path)?),
            Format::Codex | Format::CodexSubAgent => {
                let home = self.codex_home.clone();
                Box::new(iter::once_with(move || {
                    codex::read(&files, home.as_deref())
                }))
            }
            Format::GooseJsonl => Box::new(iter::once_with(move || goose::read_jsonl(&path))),
            Format::GooseDatabase => Box::new(goose::Sessions::open(&path)?),
            Format::Unreadable => return Err(unreadable(&path)),
        })
    }
}

/// Opens the path once more for the error of the operating system.
fn unreadable(path: &Path) -> Error {
    let again = match path.is_dir() {
        true => fs::read_dir(path).map(drop).map_err(Error::io(path)),
        false => open(path).map(drop),
    };
    let vanished = || io::Error::other("it could not be opened when the folder was searched");
    again.err().unwrap_or_else(|| Error::io(path)(vanished()))
}
