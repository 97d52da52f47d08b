//! Imports recorded sessions.

mod binding;
mod continuation;
mod event;
mod keep;
mod known;
mod origin;
mod place;
mod save;

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use turnkeep_recordings::{
    Error as RecordingError, Export, Exporter, Found, KeptFile, Recording, Source,
};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, ErrorKind, ImportedFile, RecordingFile, RecordingName, Repo, Result, Role,
    Session, SessionId, TaskId,
};

pub use event::{
    ImportError, ImportEvent, ImportFailure, ImportWarning, ImportedSession, KeepError,
    SkippedSession,
};
pub use known::KnownFiles;
pub use origin::{Evidence, Origin};

use crate::AgentHomes;
use binding::Refused;
use place::Place;

/// The circumstances of an import.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The name of this machine. Paths of recordings mean nothing on another one.
    pub host: String,
    /// The usual homes of the agents. The binding of a session in another home names it as its config folder.
    pub homes: AgentHomes,
    /// Whether the files of the sessions are not kept. False by default.
    pub words_only: bool,
}

impl ImportOptions {
    /// Sets the name of this machine and the usual homes of the agents.
    pub fn new(host: impl Into<String>, homes: AgentHomes) -> Self {
        Self {
            host: host.into(),
            homes,
            words_only: false,
        }
    }

    /// Keeps only the words of the sessions, and not their files.
    #[must_use]
    pub fn words_only(mut self) -> Self {
        self.words_only = true;
        self
    }
}

/// Imports the sessions that [`turnkeep_recordings::find`] has found, and tells `on_event` of each.
///
/// A session goes to the task that is or was bound to it. If there is none, a completed task is made, with the
/// id `<agent>:<session id>` and a binding that has its [`Origin`] as metadata. Repeating an import adds nothing, and a
/// recording that has grown adds its new turns.
///
/// - A file that only claims to be of a session makes a task of its own, `<agent>-log:<session id>`, and adds to
///   no other.
/// - Goose's session ids are unique only in one database. A session with the id of another one becomes a task with a
///   number, `goose:<session id>#2`.
/// - A session that goes on under a new id, as in versions 1 of Claude Code, becomes the binding of the task that was
///   bound to the old one. A fork is a task of its own.
/// - The files of the session are kept byte for byte ([`Repo::get_recordings`]), as [`Source::kept_files`] names
///   them, unless only words are wanted. A file that has grown adds its new bytes; one that was rewritten is kept
///   anew. Of copies, the one that the binding leads to is kept. A file is kept up to the end that it had when it was
///   opened. If it shrinks or is written over meanwhile, the next import keeps it anew.
/// - The binding that an import has made follows the recording when it moves. One that somebody saved gets only the
///   folder that it lacks.
///
/// Turns are stored in transactions of at most 256 turns or 4 MiB, so that other writers get their turn. An
/// interrupted import leaves a consistent store, the next one completes it, and several may run at once.
///
/// # Errors
/// The [errors of every call](Repo#errors-of-every-call), which stop the import. An error that concerns only one
/// file or session is an [`ImportEvent::Failed`].
///
/// ```
/// use turnkeep_agents::{AgentHomes, ImportEvent, ImportOptions, import};
/// use turnkeep_repo::Repo;
///
/// # let folder = tempfile::tempdir()?;
/// # let home = folder.path();
/// # let project = home.join(".claude/projects/-srv-app");
/// # std::fs::create_dir_all(&project)?;
/// # let id = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
/// # let line = format!(r#"{{"type":"user","sessionId":"{id}","message":{{"role":"user","content":"Why?"}}}}"#);
/// # std::fs::write(project.join(format!("{id}.jsonl")), line)?;
/// let homes = AgentHomes::new(
///     home.join(".claude"),
///     home.join(".codex"),
///     home.join(".local/share/goose"),
/// );
/// let found = turnkeep_recordings::find(&homes.claude, None)?;
/// let repo = Repo::open_in_memory()?;
/// let mut added = 0;
/// import(&repo, &found, &ImportOptions::new("host-1", homes), &mut |event| {
///     if let ImportEvent::Session(session) = event {
///         added += session.added_turns;
///     }
/// })?;
/// assert_eq!(added, 1);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn import(
    repo: &Repo,
    found: &Found,
    options: &ImportOptions,
    on_event: &mut dyn FnMut(ImportEvent),
) -> Result<()> {
    let mut import = Import {
        repo,
        options,
        on_event,
        read: Vec::new(),
    };
    if !found.unchanged.is_empty() {
        import.unchanged(&found.unchanged)?;
    }
    let mut continuations = Vec::new();
    for source in &found.sources {
        match import.source(source, true)? {
            SourceState::Continuation { last } => continuations.push((last, source)),
            SourceState::Done => (import.on_event)(ImportEvent::SourceDone),
        }
    }
    // One may continue another.
    continuations.sort_by_key(|(last, _)| *last);
    for (_, source) in continuations {
        import.source(source, false)?;
        (import.on_event)(ImportEvent::SourceDone);
    }
    import.save_read()
}

/// Saves a recording that is in no file, as a file at its path would be imported.
pub(crate) fn save_recording(
    repo: &Repo,
    recording: &Recording,
    options: &ImportOptions,
) -> Result<(), ImportError> {
    let mut import = Import {
        repo,
        options,
        on_event: &mut |_| {},
        read: Vec::new(),
    };
    // A refused one is of a session that is not imported.
    import
        .save(recording, &Place::expected(recording, options))
        .map(drop)
}

enum SourceState {
    Done,
    /// Left out, with the time of its last turn.
    Continuation {
        last: Option<DateTime<Utc>>,
    },
}

/// A session of which the words are stored.
struct Stored {
    session: ImportedSession,
    /// Whether its files are to be kept.
    is_bound: bool,
}

struct Import<'a> {
    repo: &'a Repo,
    options: &'a ImportOptions,
    on_event: &'a mut dyn FnMut(ImportEvent),
    /// Files that the next import need not read, to be saved in one transaction.
    read: Vec<ImportedFile>,
}

/// The files of a source, as they were before they were read.
struct Read {
    /// The real paths of the recordings. They were noted before their words were read, if at all.
    recordings: Vec<PathBuf>,
    files: Vec<ImportedFile>,
    /// The session, if there is one only.
    session: Option<SessionId>,
    sessions: usize,
    /// Whether all was imported and kept.
    is_complete: bool,
}

impl Import<'_> {
    /// Imports the sessions of a file. Fails only with an error that concerns all sessions.
    ///
    /// A session that may continue another is left out if it `may_wait`: the other must be imported before.
    fn source(&mut self, source: &Source, may_wait: bool) -> Result<SourceState> {
        let mut read = self.before(source);
        let sessions = match source.sessions() {
            Ok(sessions) => sessions,
            Err(error) => {
                self.fail(error.into());
                return Ok(SourceState::Done);
            }
        };
        let mut lines = 0;
        let mut exporter = None;
        for recording in sessions {
            match recording {
                Ok(recording) if may_wait && !continuation::copied(&recording).is_empty() => {
                    let last = recording.last_timestamp();
                    return Ok(SourceState::Continuation { last });
                }
                Ok(recording) => {
                    lines += recording.unparsable_lines;
                    self.warn_of(&recording);
                    self.session(source, &recording, &mut exporter, &mut read)?;
                }
                Err(error @ RecordingError::OtherSession { .. }) if !source.is_named() => {
                    self.warn(error.into());
                }
                Err(error) => {
                    read.is_complete = false;
                    self.fail(error.into());
                }
            }
        }
        self.note_read(read)?;
        if lines > 0 {
            let path = source.path().to_owned();
            self.warn(ImportWarning::DamagedLines { path, lines });
        }
        Ok(SourceState::Done)
    }

    /// Tells what of a session was not read.
    fn warn_of(&mut self, recording: &Recording) {
        for path in &recording.passed_over {
            let path = path.clone();
            self.warn(RecordingError::OtherSession { path }.into());
        }
        if let Some(parent) = &recording.missing_parent {
            let (path, parent) = (recording.path.clone(), parent.clone());
            self.warn(ImportWarning::MissingParent { path, parent });
        }
    }

    fn session(
        &mut self,
        source: &Source,
        recording: &Recording,
        exporter: &mut Option<Exporter>,
        read: &mut Read,
    ) -> Result<()> {
        read.sessions += 1;
        read.session = Some(recording.session_id.clone());
        let place = Place::of(source, recording, self.options);
        let (path, session_id) = (recording.path.clone(), recording.session_id.clone());
        match self.save(recording, &place) {
            Ok(Ok(Stored {
                mut session,
                is_bound,
            })) => {
                let task = Some(&session.task_id).filter(|_| is_bound && !self.options.words_only);
                session.kept_bytes = self.keep(source, recording, task, exporter, read)?;
                let is_new = session.is_new;
                (self.on_event)(ImportEvent::Session(session));
                if is_new && place.evidence == Evidence::Claim {
                    self.warn(ImportWarning::OnlyClaimed { path, session_id });
                }
            }
            Ok(Err(Refused::Prompts | Refused::NotBegun)) => {}
            Ok(Err(Refused::Removed)) => (self.on_event)(ImportEvent::Removed(SkippedSession {
                backend_type: recording.backend_type.clone(),
                session_id,
                path,
            })),
            Ok(Err(Refused::KnownSession)) => {
                self.warn(ImportWarning::KnownSession { path, session_id });
            }
            Ok(Err(Refused::OtherTask(task_id))) => self.warn(ImportWarning::OtherTask {
                path,
                session_id,
                task_id,
            }),
            Err(ImportError::Store(error)) if !concerns_one_session(&error) => return Err(error),
            Err(source) => {
                read.is_complete = false;
                self.fail(ImportFailure::Session {
                    path,
                    session_id,
                    source,
                });
            }
        }
        Ok(())
    }

    fn save(
        &mut self,
        recording: &Recording,
        place: &Place<'_>,
    ) -> Result<Result<Stored, Refused>, ImportError> {
        let target = match binding::task(self.repo, recording, place)? {
            Ok(target) => target,
            Err(refused) => return Ok(Err(refused)),
        };
        let saved = save::save(self.repo, &target.id, recording, |count| {
            (self.on_event)(ImportEvent::TurnsAdded(count));
        })?;
        let is_bound = binding::follow(self.repo, &target.id, recording, place, &saved)?;
        let session = ImportedSession {
            is_new: target.is_new,
            task_id: target.id,
            backend_type: recording.backend_type.clone(),
            session_id: recording.session_id.clone(),
            working_dir: recording.working_dir.clone(),
            user_turns: recording.count(Role::User),
            assistant_turns: recording.count(Role::Assistant),
            first_timestamp: recording.first_timestamp(),
            last_timestamp: recording.last_timestamp(),
            added_turns: saved.added,
            unparsable_lines: recording.unparsable_lines,
            path: recording.path.clone(),
            kept_bytes: 0,
        };
        Ok(Ok(Stored { session, is_bound }))
    }

    /// Keeps the files of a session and returns the number of added bytes. Without a task the files are only noted.
    fn keep(
        &mut self,
        source: &Source,
        recording: &Recording,
        task: Option<&TaskId>,
        exporter: &mut Option<Exporter>,
        read: &mut Read,
    ) -> Result<u64> {
        let kept = match task {
            Some(task) => self.repo.get_recordings(task)?,
            None => Vec::new(),
        };
        let mut added = 0;
        for file in source.kept_files(recording) {
            let (path, result) = match file {
                Ok(file) => {
                    let result = self.keep_file(task, &kept, &file, recording, read);
                    (file.path, result)
                }
                Err(error) => (recording.path.clone(), Err(error.into())),
            };
            added += self.count_kept(path, result, read)?;
        }
        if let Some(task) = task {
            let result = export(source, recording, exporter).and_then(|export| match export {
                Some(export) => {
                    let name = RecordingName::new(export.name)?;
                    keep::keep(self.repo, task, &kept, &name, &mut &*export.json)
                }
                None => Ok(0),
            });
            added += self.count_kept(recording.path.clone(), result, read)?;
        }
        Ok(added)
    }

    fn keep_file(
        &self,
        task: Option<&TaskId>,
        kept: &[RecordingFile],
        file: &KeptFile,
        recording: &Recording,
        read: &mut Read,
    ) -> Result<u64, KeepError> {
        let opened = file.open()?;
        let metadata = opened.metadata()?;
        if !read.recordings.contains(&file.path) {
            let noted = known::note(&file.path, &metadata, &recording.backend_type, self.options);
            read.files.extend(noted);
        }
        let Some(task) = task else {
            return Ok(0);
        };
        let name = RecordingName::new(&*file.name)?;
        keep::keep(
            self.repo,
            task,
            kept,
            &name,
            &mut opened.take(metadata.len()),
        )
    }

    /// Returns the number of added bytes. A file that can't be kept is a warning.
    fn count_kept(
        &mut self,
        path: PathBuf,
        result: Result<u64, KeepError>,
        read: &mut Read,
    ) -> Result<u64> {
        match result {
            Ok(added) => Ok(added),
            Err(KeepError::Store(error)) if !concerns_one_session(&error) => Err(error),
            Err(source) => {
                read.is_complete = false;
                self.warn(ImportWarning::NotKept { path, source });
                Ok(0)
            }
        }
    }

    /// Tells of the sessions in files that have not changed.
    fn unchanged(&mut self, paths: &[PathBuf]) -> Result<()> {
        let known = KnownFiles::load(self.repo, self.options)?;
        let removed = self.repo.list_removed_sessions()?;
        let removed: HashSet<_> = removed
            .into_iter()
            .map(|removed| (removed.backend_type, removed.session_id))
            .collect();
        let mut bound = None;
        let mut told = HashSet::new();
        for path in paths {
            let Some(file) = known.get(path) else {
                continue;
            };
            let sessions = match &file.session_id {
                Some(session) => vec![session.clone()],
                None => {
                    let bound = match &mut bound {
                        Some(bound) => bound,
                        none => none.insert(self.repo.list_sessions()?),
                    };
                    self.sessions_in(path, bound)
                }
            };
            for session_id in sessions {
                let backend_type = file.backend_type.clone();
                let session = (backend_type, session_id);
                // A session may have several files. In Goose's databases it is another one.
                if session.0 != BackendType::Goose && !told.insert(session.clone()) {
                    continue;
                }
                let is_removed = removed.contains(&session);
                let (backend_type, session_id) = session;
                let skipped = SkippedSession {
                    backend_type,
                    session_id,
                    path: path.clone(),
                };
                (self.on_event)(match is_removed {
                    true => ImportEvent::Removed(skipped),
                    false => ImportEvent::Unchanged(skipped),
                });
            }
        }
        Ok(())
    }

    /// Returns the sessions that were imported from a file.
    fn sessions_in(&self, path: &Path, bound: &[Session]) -> Vec<SessionId> {
        let path = place::real(path);
        let is_from = |session: &&Session| {
            Origin::of(session.metadata.as_ref()).is_some_and(|origin| {
                origin.host == self.options.host && Path::new(&origin.imported_from) == path
            })
        };
        let sessions = bound.iter().filter(is_from);
        sessions.map(|session| session.session_id.clone()).collect()
    }

    /// Notes the files of a source before they are read.
    fn before(&self, source: &Source) -> Read {
        let note = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            known::note(path, &metadata, source.backend()?, self.options)
        };
        Read {
            recordings: source
                .files()
                .iter()
                .map(|path| place::real(path))
                .collect(),
            files: source.files().iter().filter_map(note).collect(),
            session: None,
            sessions: 0,
            is_complete: true,
        }
    }

    /// Notes that a source was read. Files of sub-agents have the session of their parent.
    fn note_read(&mut self, read: Read) -> Result<()> {
        const MOST: usize = 256;
        if !read.is_complete {
            return Ok(());
        }
        let session = read.session.filter(|_| read.sessions == 1);
        let is_whole = !self.options.words_only;
        self.read.extend(read.files.into_iter().map(|mut file| {
            file.session_id = session.clone();
            file.settled = if is_whole { file.size } else { 0 };
            file
        }));
        match self.read.len() > MOST {
            true => self.save_read(),
            false => Ok(()),
        }
    }

    /// Saves which files were read. Not of a session whose task was deleted meanwhile: it is to be imported again.
    fn save_read(&mut self) -> Result<()> {
        let read = std::mem::take(&mut self.read);
        if read.is_empty() {
            return Ok(());
        }
        self.repo.transaction(|tx| {
            for file in &read {
                if let Some(session) = &file.session_id {
                    let backend = &file.backend_type;
                    let is_known = !tx.list_tasks_by_session(backend, session)?.is_empty();
                    if !is_known && !tx.is_session_removed(backend, session)? {
                        continue;
                    }
                }
                tx.save_imported_file(file)?;
            }
            Ok(())
        })
    }

    fn warn(&mut self, warning: ImportWarning) {
        (self.on_event)(ImportEvent::Warning(warning));
    }

    fn fail(&mut self, failure: ImportFailure) {
        (self.on_event)(ImportEvent::Failed(failure));
    }
}

/// Exports a session of a Goose database. Opens the database for its first session.
fn export(
    source: &Source,
    recording: &Recording,
    exporter: &mut Option<Exporter>,
) -> Result<Option<Export>, KeepError> {
    if exporter.is_none() {
        *exporter = source.exporter()?;
    }
    match exporter {
        Some(exporter) => Ok(exporter.export(&recording.session_id)?),
        None => Ok(None),
    }
}

/// Whether an error concerns only one session, so that the import can continue.
fn concerns_one_session(error: &turnkeep_repo::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput { .. }
            | ErrorKind::TaskNotFound
            | ErrorKind::KeyConflict { .. }
            | ErrorKind::SeqConflict { .. }
            | ErrorKind::RecordingGap { .. }
            | ErrorKind::RecordingNotFound { .. }
            | ErrorKind::Corrupt
    )
}
