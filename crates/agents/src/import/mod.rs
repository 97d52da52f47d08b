//! Imports recorded sessions.

mod binding;
mod continuation;
mod event;
mod origin;
mod place;
mod save;

use turnkeep_recordings::{Error as RecordingError, Found, Recording, Source};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{ErrorKind, Repo, Result, Role};

pub use event::{ImportError, ImportEvent, ImportFailure, ImportWarning, ImportedSession};
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
}

impl ImportOptions {
    /// Sets the name of this machine and the usual homes of the agents.
    pub fn new(host: impl Into<String>, homes: AgentHomes) -> Self {
        let host = host.into();
        Self { host, homes }
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
/// - A session that goes on under a new id, as in versions 1.0 of Claude Code, becomes the binding of the task that was
///   bound to the old one. A fork is a task of its own.
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
    };
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
    Ok(())
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

struct Import<'a> {
    repo: &'a Repo,
    options: &'a ImportOptions,
    on_event: &'a mut dyn FnMut(ImportEvent),
}

impl Import<'_> {
    /// Imports the sessions of a file. Fails only with an error that concerns all sessions.
    ///
    /// A session that may continue another is left out if it `may_wait`: the other must be imported before.
    fn source(&mut self, source: &Source, may_wait: bool) -> Result<SourceState> {
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
                Ok(recording) if may_wait && continuation::origin(&recording).is_some() => {
                    let last = recording.last_timestamp();
                    return Ok(SourceState::Continuation { last });
                }
                Ok(recording) => {
                    lines += recording.unparsable_lines;
                    self.warn_of(&recording);
                    self.session(source, &recording)?;
                }
                Err(error @ RecordingError::OtherSession { .. }) if !source.is_named() => {
                    self.warn(error.into());
                }
                Err(error) => self.fail(error.into()),
            }
        }
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

    fn session(&mut self, source: &Source, recording: &Recording) -> Result<()> {
        let place = Place::of(source, recording, self.options);
        let (path, session_id) = (recording.path.clone(), recording.session_id.clone());
        match self.save(recording, &place) {
            Ok(Ok(session)) => {
                let is_new = session.is_new;
                (self.on_event)(ImportEvent::Session(session));
                if is_new && place.evidence == Evidence::Claim {
                    self.warn(ImportWarning::OnlyClaimed { path, session_id });
                }
            }
            Ok(Err(Refused::Prompts | Refused::NotBegun)) => {}
            Ok(Err(Refused::KnownSession)) => {
                self.warn(ImportWarning::KnownSession { path, session_id });
            }
            Ok(Err(Refused::OtherTask(task_id))) => self.warn(ImportWarning::OtherTask {
                path,
                session_id,
                task_id,
            }),
            Err(ImportError::Store(error)) if !concerns_one_session(&error) => return Err(error),
            Err(source) => self.fail(ImportFailure::Session {
                path,
                session_id,
                source,
            }),
        }
        Ok(())
    }

    fn save(
        &mut self,
        recording: &Recording,
        place: &Place<'_>,
    ) -> Result<Result<ImportedSession, Refused>, ImportError> {
        let target = match binding::task(self.repo, recording, place)? {
            Ok(target) => target,
            Err(refused) => return Ok(Err(refused)),
        };
        let saved = save::save(self.repo, &target.id, recording, |count| {
            (self.on_event)(ImportEvent::TurnsAdded(count));
        })?;
        binding::follow(self.repo, &target.id, recording, place, &saved)?;
        Ok(Ok(ImportedSession {
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
        }))
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
            | ErrorKind::Corrupt
    )
}
