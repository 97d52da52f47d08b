use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io, iter};

use turnkeep_model::BackendType;

use crate::claude;
use crate::codex;
use crate::detect::Format;
use crate::error::Error;
use crate::file_name::has_suffix;
use crate::goose::{self, Exporter};
use crate::kept::{KeptFile, Placed, files_in_home, kept_files};
use crate::open::open;
use crate::recording::Recording;
use crate::tail::Tail;

/// Recordings of one agent: the files of one session, a Goose database, or the prompt history of Claude Code.
#[derive(Debug, Clone)]
pub struct Source {
    files: Vec<PathBuf>,
    /// The files of sub-agents that lie beside a transcript.
    sub_agents: Vec<PathBuf>,
    /// The homes of the files that lie where their agent keeps its sessions.
    homes: HashMap<PathBuf, PathBuf>,
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
            sub_agents: Vec::new(),
            homes: HashMap::new(),
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

    /// Notes that all files lie where their agent keeps its sessions, in this home.
    pub(crate) fn in_place(mut self, home: PathBuf) -> Self {
        let homes = self.files.iter().map(|path| (path.clone(), home.clone()));
        self.homes.extend(homes);
        self
    }

    pub(crate) fn in_codex_home(self, home: Arc<codex::Home>) -> Self {
        Self {
            codex_home: Some(home),
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

    /// Returns the bytes that all files have now. A file that can't be read counts as empty.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = self.files.iter().filter_map(|path| fs::metadata(path).ok());
        files.map(|metadata| metadata.len()).sum()
    }

    /// Returns the agent that wrote it. `None` if the file could not be opened.
    #[must_use]
    pub fn backend(&self) -> Option<&BackendType> {
        self.backend.as_ref()
    }

    /// Whether only the file's content names its session, or neither the user nor the place of the file
    /// confirms its name. Such a file must not add to a session that is known otherwise. The prompt history of
    /// Claude Code is one.
    #[must_use]
    pub fn is_claim(&self) -> bool {
        self.identity == Identity::Claim
    }

    /// Returns the home of an agent in which a file lies, such as `/home/ada/.claude`, if the file lies where
    /// the agent keeps its sessions. Only such a file tells where the session is. `path` is one of
    /// [`files`](Source::files) or [`Recording::path`]. `None` for a file in another place, such as a copy.
    ///
    /// The home is a real path. The home of Goose is the folder with `sessions/`.
    #[must_use]
    pub fn home_of(&self, path: &Path) -> Option<&Path> {
        self.homes.get(path).map(PathBuf::as_path)
    }

    /// Returns the ids of the sessions: the one in the name of the files, or those in a database of Goose. Empty if
    /// only the lines of a file tell, or if the database can't be read.
    ///
    /// Reads no message.
    #[must_use]
    pub fn session_ids(&self) -> Vec<String> {
        match (&self.identity, self.format) {
            (_, Format::GooseDatabase) => goose::session_ids(self.path()).into_iter().collect(),
            (Identity::Name(id), _) => vec![id.clone()],
            _ => Vec::new(),
        }
    }

    /// Whether the user named the file. Its sessions are then believed to be those in its lines.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.identity == Identity::User
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

    pub(crate) fn add_sub_agents(&mut self, files: Vec<PathBuf>) {
        self.sub_agents.extend(files);
    }

    /// Adds the files of another source of the same session.
    pub(crate) fn add_files(&mut self, other: Self) {
        self.homes.extend(other.homes);
        for path in other.files {
            if !self.files.contains(&path) {
                self.files.push(path);
            }
        }
        self.sub_agents.extend(other.sub_agents);
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
        let files = self.files.clone();
        let path = self.path().to_owned();
        let is_named = self.is_named();
        let homes = self.homes.clone();
        let is_in_place = move |path: &Path| homes.contains_key(path);
        Ok(match self.format {
            Format::Claude => Box::new(iter::once_with(move || {
                claude::read(&files, is_in_place, is_named)
            })),
            Format::ClaudeLog => Box::new(iter::once_with(move || claude::read_log(&path))),
            Format::ClaudeHistory => Box::new(claude::History::read(&path)?),
            Format::Codex | Format::CodexSubAgent => {
                let home = self.codex_home.clone();
                Box::new(iter::once_with(move || {
                    codex::read(&files, is_in_place, home.as_deref())
                }))
            }
            Format::GooseJsonl => Box::new(iter::once_with(move || goose::read_jsonl(&path))),
            Format::GooseDatabase => Box::new(goose::Sessions::open(&path)?),
            Format::Unreadable => return Err(unreadable(&path)),
        })
    }

    /// Reads only the end of a session that has grown. `settled` is [`Recording::settled`] of an earlier reading
    /// of the same file, which may not have been rewritten since: it must be the same file, and not shorter.
    ///
    /// `None` if the session has to be read as a whole: it has several files, its source is a claim or no
    /// transcript of Claude Code or rollout of Codex, no line of it begins there, or only its beginning tells whose
    /// title the end has.
    ///
    /// # Errors
    /// Those of the items of [`sessions`](Source::sessions).
    ///
    /// ```no_run
    /// # use turnkeep_model::ConversationTurn;
    /// # fn history() -> Vec<ConversationTurn> { Vec::new() }
    /// # let settled = 1_048_576;
    /// let found = turnkeep_recordings::find("/home/ada/.codex".as_ref(), None)?;
    /// if let Some(tail) = found.sources[0].tail(settled)? {
    ///     match tail.new_messages(&history()) {
    ///         Some(new) => println!("{} new, now settled: {}", new.len(), tail.recording().settled),
    ///         None => println!("read the whole session"),
    ///     }
    /// }
    /// # Ok::<(), turnkeep_recordings::Error>(())
    /// ```
    pub fn tail(&self, settled: u64) -> Result<Option<Tail>, Error> {
        let [path] = self.files() else {
            return Ok(None);
        };
        let tail = match self.format {
            _ if settled == 0 || self.is_claim() => return Ok(None),
            Format::Claude => claude::read_tail(path, settled),
            Format::Codex => codex::read_tail(path, settled, self.codex_home.as_deref()),
            _ => return Ok(None),
        };
        Ok(tail?.map(Tail::new))
    }

    /// Returns the files that belong to a session, which is a recording of this source, byte for byte: all
    /// that its agent needs to resume it.
    ///
    /// - **Claude Code**: the transcript, and the folder `<session id>/` beside it with the transcripts of
    ///   sub-agents and large results of tools. Version 2.0 put the sub-agents beside the transcript, as
    ///   `agent-*.jsonl`: they are there if the search of a folder has found them changed.
    /// - **Codex**: the rollout, and each rollout that its history begins with.
    /// - **Goose**: the JSONL file. A session of a database has an [`Exporter`].
    ///
    /// The file at [`Recording::path`] comes first. Of several copies with one name only the first is there.
    /// Empty for a source that [`is_claim`](Source::is_claim). An item fails for a file that can't be kept,
    /// with [`Error::NotFound`], [`Error::Io`], [`Error::NotAFile`], [`Error::InvalidName`] or
    /// [`Error::TooManyFiles`]. Links are not followed.
    #[must_use]
    pub fn kept_files(&self, recording: &Recording) -> Vec<Result<KeptFile, Error>> {
        if !self.has_files() {
            return Vec::new();
        }
        let own = |path: &&PathBuf| !recording.passed_over.contains(path);
        let mut files: Vec<_> = self
            .files
            .iter()
            .filter(own)
            .map(|path| self.placed(path))
            .collect();
        files.sort_by_key(|file| (file.path != recording.path, file.home.is_none()));
        let codex_home = self.codex_home.as_ref().map(|home| home.root());
        kept_files(&files, recording, codex_home)
    }

    /// Whether the session has files of its own.
    fn has_files(&self) -> bool {
        let formats = [Format::Claude, Format::Codex, Format::GooseJsonl];
        !self.is_claim() && formats.contains(&self.format)
    }

    /// Returns the files of the session that lie in a home of its agent, with those beside a transcript of Claude
    /// Code, as [`kept_files`](Source::kept_files) names them. Files that can't be kept are left out.
    ///
    /// Reads no file.
    ///
    /// ```no_run
    /// for source in turnkeep_recordings::find("/home/ada/.claude".as_ref(), None)?.sources {
    ///     for file in source.files_in_home() {
    ///         println!("{} {}", file.name, file.path.display());
    ///     }
    /// }
    /// # Ok::<(), turnkeep_recordings::Error>(())
    /// ```
    #[must_use]
    pub fn files_in_home(&self) -> Vec<KeptFile> {
        if !self.has_files() {
            return Vec::new();
        }
        let files: Vec<_> = self.files.iter().map(|path| self.placed(path)).collect();
        files_in_home(&files, self.format == Format::Claude)
    }

    fn placed<'a>(&'a self, path: &'a Path) -> Placed<'a> {
        let sub_agents = self.sub_agents.iter().map(PathBuf::as_path);
        Placed {
            path,
            home: self.home_of(path),
            sub_agents: sub_agents
                .filter(|file| file.parent() == path.parent())
                .collect(),
        }
    }

    /// Opens a Goose database to export its sessions. `None` for another source.
    ///
    /// # Errors
    /// [`Error::OpenDatabase`], [`Error::Database`], [`Error::Busy`], [`Error::NoTables`],
    /// [`Error::TooLarge`], [`Error::Temporary`], [`Error::NotFound`], [`Error::NotAFile`] and [`Error::Io`]
    /// if it can't be read.
    ///
    /// ```no_run
    /// for source in turnkeep_recordings::find("/home/ada/.local/share/goose".as_ref(), None)?.sources {
    ///     if let Some(mut exporter) = source.exporter()? {
    ///         for recording in source.sessions()? {
    ///             if let Some(export) = exporter.export(&recording?.session_id)? {
    ///                 println!("{} {}", export.name, export.json.len());
    ///             }
    ///         }
    ///     }
    /// }
    /// # Ok::<(), turnkeep_recordings::Error>(())
    /// ```
    pub fn exporter(&self) -> Result<Option<Exporter>, Error> {
        let is_database = self.format == Format::GooseDatabase;
        is_database.then(|| Exporter::open(self.path())).transpose()
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
