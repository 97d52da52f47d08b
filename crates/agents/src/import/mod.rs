//! Imports recorded sessions.

mod binding;
mod continuation;
mod event;
mod grown;
mod keep;
mod known;
mod origin;
mod place;
mod save;
mod source_files;
mod unchanged;

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use turnkeep_recordings::{Error as RecordingError, Found, Recording, Source};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{ErrorKind, ImportedFile, RemovedSession, Repo, Result, Role};

pub use event::{
    ImportError, ImportEvent, ImportFailure, ImportWarning, ImportedSession, KeepError,
    SkippedSession,
};
pub use known::KnownFiles;
pub use origin::{Evidence, Origin};

use crate::AgentHomes;
use binding::Refused;
use place::Place;
use source_files::SourceFiles;

/// The most notes of files that are saved in one transaction.
const MOST_NOTES: usize = 256;

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
/// - Of a file of more than 1 MiB that has only grown since an earlier import, the end is read alone, from the turn of
///   the user on before which nothing concerns it. The result is that of the whole file.
/// - The files of the session are kept byte for byte ([`Repo::get_recordings`]), as [`Source::kept_files`] names
///   them, unless only words are wanted. A file that has grown adds its new bytes; one that was rewritten is kept
///   anew. Of the kept bytes of a transcript of more than 1 MiB only the last 64 KiB are compared, if the inode shows the
///   same file. Of copies, the one that the binding leads to is kept. A file is kept up to the end that it had when it
///   was opened. If it shrinks or is written over meanwhile, the next import keeps it anew.
/// - The task that an import has made gets the title of its session when the agent writes one, unless somebody has
///   named it.
/// - A session whose task was removed is left out. If it goes on, that is an [`ImportWarning::GoesOn`] each time that its
///   file has changed.
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
        known: None,
        read: Vec::new(),
    };
    if !found.unchanged.is_empty() {
        unchanged::tell(repo, options, &found.unchanged, import.on_event)?;
    }
    let mut continuations = Vec::new();
    for source in &found.sources {
        let bytes = source.bytes();
        match import.source(source, true)? {
            SourceState::Continuation { last } => continuations.push((last, source, bytes)),
            SourceState::Done => (import.on_event)(ImportEvent::SourceDone { bytes }),
        }
    }
    // One may continue another.
    continuations.sort_by_key(|(last, ..)| *last);
    for (_, source, bytes) in continuations {
        import.source(source, false)?;
        (import.on_event)(ImportEvent::SourceDone { bytes });
    }
    known::save(repo, &import.read)
}

/// Saves a recording that is in no file, as a file at its path would be imported. Returns the warning of a session that is
/// not imported.
pub(crate) fn save_recording(
    repo: &Repo,
    recording: &Recording,
    options: &ImportOptions,
) -> Result<Option<ImportWarning>, ImportError> {
    let mut import = Import {
        repo,
        options,
        on_event: &mut |_| {},
        known: None,
        read: Vec::new(),
    };
    match import.save(recording, &Place::expected(recording, options))? {
        Err(Refused::Removed(removed)) => Ok(goes_on(recording, removed)),
        _ => Ok(None),
    }
}

/// Returns the warning of a removed session with a turn of a later time.
fn goes_on(recording: &Recording, removed: RemovedSession) -> Option<ImportWarning> {
    let is_later = recording.last_timestamp() > Some(removed.removed_at);
    is_later.then(|| ImportWarning::GoesOn {
        path: recording.path.clone(),
        session_id: removed.session_id,
        task_id: removed.task_id,
    })
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
    /// The notes of earlier imports, loaded for the first large file.
    known: Option<Rc<KnownFiles>>,
    /// Files that the next import need not read, to be saved in one transaction.
    read: Vec<ImportedFile>,
}

impl Import<'_> {
    /// Imports the sessions of a file. Fails only with an error that concerns all sessions.
    ///
    /// A session that may continue another is left out if it `may_wait`: the other must be imported before.
    fn source(&mut self, source: &Source, may_wait: bool) -> Result<SourceState> {
        let known = self.known(source)?;
        let mut files = SourceFiles::before_reading(source, self.options, known);
        if self.grown(source, &mut files)? {
            self.note(files)?;
            return Ok(SourceState::Done);
        }
        let sessions = match source.sessions() {
            Ok(sessions) => sessions,
            Err(error) => {
                self.fail(error.into());
                return Ok(SourceState::Done);
            }
        };
        let mut lines = 0;
        for recording in sessions {
            match recording {
                Ok(recording) if may_wait && !continuation::copied(&recording).is_empty() => {
                    let last = recording.last_timestamp();
                    return Ok(SourceState::Continuation { last });
                }
                Ok(recording) => {
                    lines += recording.unparsable_lines;
                    self.warn_of(&recording);
                    self.session(source, &recording, &mut files)?;
                }
                Err(error @ RecordingError::OtherSession { .. }) if !source.is_named() => {
                    self.warn(error.into());
                }
                Err(error) => {
                    files.is_complete = false;
                    self.fail(error.into());
                }
            }
        }
        self.note(files)?;
        self.warn_of_lines(source, lines);
        Ok(SourceState::Done)
    }

    /// Notes the files of a source.
    fn note(&mut self, files: SourceFiles<'_>) -> Result<()> {
        self.read.extend(files.into_known());
        match self.read.len() > MOST_NOTES {
            true => known::save(self.repo, &std::mem::take(&mut self.read)),
            false => Ok(()),
        }
    }

    /// Returns the notes of earlier imports for a source that has a large file. A small one is compared as a whole.
    fn known(&mut self, source: &Source) -> Result<Rc<KnownFiles>> {
        const LARGE: u64 = 1024 * 1024;
        let is_large =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.len() > LARGE);
        if !source.files().iter().any(is_large) {
            return Ok(Rc::default());
        }
        let known = match &self.known {
            Some(known) => Rc::clone(known),
            None => Rc::new(KnownFiles::load(self.repo, self.options)?),
        };
        self.known = Some(Rc::clone(&known));
        Ok(known)
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

    fn warn_of_lines(&mut self, source: &Source, lines: u64) {
        if lines > 0 {
            let path = source.path().to_owned();
            self.warn(ImportWarning::DamagedLines { path, lines });
        }
    }

    fn session(
        &mut self,
        source: &Source,
        recording: &Recording,
        files: &mut SourceFiles<'_>,
    ) -> Result<()> {
        files.add_session(recording);
        let place = Place::of(source, recording, self.options);
        let (path, session_id) = (recording.path.clone(), recording.session_id.clone());
        match self.save(recording, &place) {
            Ok(Ok(stored)) => {
                // The binding follows a copy once the first file is gone, and a fork gets its parent's words later.
                let is_final = stored.is_bound || place.evidence != Evidence::Place;
                files.is_complete &= is_final && recording.missing_parent.is_none();
                let is_new = stored.session.is_new;
                self.keep(source, recording, stored, files)?;
                if is_new && place.evidence == Evidence::Claim {
                    self.warn(ImportWarning::OnlyClaimed { path, session_id });
                }
            }
            Ok(Err(Refused::Prompts | Refused::NotBegun)) => {}
            Ok(Err(Refused::Removed(removed))) => {
                // The files beside it are only noted.
                keep::keep_session(self.repo, None, source, recording, files)?;
                (self.on_event)(ImportEvent::Removed(SkippedSession {
                    backend_type: recording.backend_type.clone(),
                    session_id,
                    path,
                }));
                if let Some(warning) = goes_on(recording, removed) {
                    self.warn(warning);
                }
            }
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
                files.is_complete = false;
                self.fail(ImportFailure::Session {
                    path,
                    session_id,
                    source,
                });
            }
        }
        Ok(())
    }

    /// Keeps the files of a session whose words are stored, and tells of it.
    fn keep(
        &mut self,
        source: &Source,
        recording: &Recording,
        stored: Stored,
        files: &mut SourceFiles<'_>,
    ) -> Result<()> {
        let Stored {
            mut session,
            is_bound,
        } = stored;
        let task = Some(&session.task_id).filter(|_| is_bound && !self.options.words_only);
        let kept = keep::keep_session(self.repo, task, source, recording, files)?;
        session.kept_bytes = kept.added;
        for (path, source) in kept.failures {
            self.warn(ImportWarning::NotKept { path, source });
        }
        (self.on_event)(ImportEvent::Session(session));
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
        if target.added > 0 {
            (self.on_event)(ImportEvent::TurnsAdded(target.added));
        }
        let saved = save::save(self.repo, &target.id, recording, |count| {
            (self.on_event)(ImportEvent::TurnsAdded(count));
        })?;
        let is_bound = match target.is_new {
            true => place.evidence == Evidence::Place,
            false => binding::follow(self.repo, &target.id, recording, place, &saved)?,
        };
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
            added_turns: target.added + saved.added,
            unparsable_lines: recording.unparsable_lines,
            path: recording.path.clone(),
            kept_bytes: 0,
        };
        Ok(Ok(Stored { session, is_bound }))
    }

    fn warn(&mut self, warning: ImportWarning) {
        (self.on_event)(ImportEvent::Warning(warning));
    }

    fn fail(&mut self, failure: ImportFailure) {
        (self.on_event)(ImportEvent::Failed(failure));
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
