//! Puts the recording of a session back into the home of its agent.

mod claude;
mod codex;
mod codex_database;
mod error;
mod goose;
mod goose_database;
mod kept;
mod words;
mod write;

use std::path::{Path, PathBuf};

use turnkeep_repo::{BackendType, ErrorKind, Repo, Session, SessionId, TaskId};

use crate::{AgentHomes, Relocation, RestoreSource};
use kept::{Content, KeptFile, Scan};
use words::Words;
use write::{Stamp, State};

pub use error::RestoreError;

/// How a session is put back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// The folders of the session on this machine.
    pub relocation: Relocation,
    /// Plans all steps and does none.
    pub dry_run: bool,
    /// Replaces files that differ from the store's, or are longer, and removes copies in other project folders of
    /// Claude Code that have no more than the store.
    pub force: bool,
    /// Puts every kept file back byte for byte, also one that its agent would not read or go on with.
    pub exact: bool,
    /// The program `goose`, to import a session of Goose. It gives the session a new id, which becomes the binding of
    /// the task. Without it the session is written into Goose's database. It may run for two minutes; a dry run does not
    /// run it.
    pub goose: Option<PathBuf>,
}

/// A session that was put back, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The agent.
    pub backend_type: BackendType,
    /// The agent's id of the session.
    pub session_id: SessionId,
    /// The home that has the session.
    pub home: PathBuf,
    /// The folder in which the agent is to be started. `None` if it is not known.
    pub working_dir: Option<PathBuf>,
    /// The file that holds the session.
    pub recording: PathBuf,
    /// From what it was made.
    pub source: RestoreSource,
    /// Each step, in order.
    pub steps: Vec<RestoreStep>,
}

/// A step of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreStep {
    /// The action.
    pub action: RestoreAction,
    /// The file that it is done to. Of a file that is left out, its name in the store.
    pub path: PathBuf,
}

/// The action of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreAction {
    /// Writes a file that is missing.
    Write,
    /// Replaces a file: the store's has more, or the replacement is forced.
    Replace,
    /// Leaves a file that is equal to the store's.
    Keep,
    /// Leaves a file that has more than the store: it goes on after the kept bytes, or only words are kept, or it is the
    /// parent of a fork, which may go on or be rewritten.
    KeepLonger,
    /// Leaves a kept file in the store: it is another part of the session or no file of it, or it is damaged.
    LeaveOut,
    /// Leaves a copy of the session in another folder, where the agent may find it instead.
    KeepCopy,
    /// Removes a copy of the session in another folder.
    RemoveCopy,
    /// Lets Goose import the session into its database.
    Import,
    /// Inserts the session into the database of Goose.
    Insert,
    /// Corrects the path of the session in a database of Codex.
    CorrectPath,
    /// Leaves the path of the session in a database of Codex that can't be corrected: it leads to another file, or
    /// the database can't be written.
    KeepPath,
}

impl RestoreAction {
    /// Whether the home of the agent gets another content.
    pub(crate) fn is_write(self) -> bool {
        matches!(
            self,
            Self::Write | Self::Replace | Self::Import | Self::Insert | Self::CorrectPath
        )
    }

    /// Returns the name of the action: `write`, `replace`, `keep`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::KeepLonger => "keep_longer",
            Self::LeaveOut => "leave_out",
            Self::KeepCopy => "keep_copy",
            Self::RemoveCopy => "remove_copy",
            Self::Import => "import",
            Self::Insert => "insert",
            Self::CorrectPath => "correct_path",
            Self::KeepPath => "keep_path",
        }
    }
}

/// Puts the recording of a task's session back, so that its agent can resume it.
///
/// The kept files are put back byte for byte. Only a transcript of Claude Code gets a newline at its end, without a
/// last line that is not whole. Where no file is kept, or its agent would not read it, a recording is written from the
/// turns that are not hidden. With `exact` there are no exceptions but files that the store can't read. Its messages have the keys of the turns as ids, so that the next import adds only new
/// ones.
///
/// Each file is written under another name, synced, read back, compared, and then renamed, the recording last. A file
/// on the disk is replaced only if it is the beginning of the store's; with `force` any is. Restoring again changes no
/// file. No link below the home is followed.
///
/// Claude Code: the project folder is the one of the working folder, and the file gets the present as its time, since
/// Claude Code deletes old ones. Codex: rollouts from the archive go to `sessions/`, and the paths of the session in
/// its databases are corrected.
///
/// # Errors
/// [`RestoreError`]. Before the first write it fails for each file that must not be replaced; later only if the system
/// or the store does. Then the files before it are there, and the restore can be repeated.
///
/// ```
/// use turnkeep_agents::{AgentHomes, RestoreOptions, RestoreSource, restore};
/// use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, Role, WorkingDir};
///
/// let repo = Repo::open_in_memory()?;
/// let task = "fix-login".parse()?;
/// repo.save_task(&NewTask::new("fix-login".parse()?, "Fix the login"))?;
/// let id = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60".parse()?;
/// let binding = NewSession::new(BackendType::Claude, id).working_dir(WorkingDir::new("/srv/app")?);
/// repo.save_session(&task, &binding)?;
/// repo.save_message(&task, Role::User, "Why does the login fail?")?;
///
/// let home = tempfile::tempdir()?;
/// let of = |agent: &str| home.path().join(agent);
/// let homes = AgentHomes::new(of("claude"), of("codex"), of("goose"));
/// let restored = restore(&repo, &task, &homes, &RestoreOptions::default())?;
/// assert_eq!(restored.source, RestoreSource::Words);
/// assert!(restored.recording.starts_with(of("claude/projects/-srv-app")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn restore(
    repo: &Repo,
    task: &TaskId,
    homes: &AgentHomes,
    options: &RestoreOptions,
) -> Result<Restored, RestoreError> {
    let session = repo.get_session(task)?;
    let Some(home) = options.relocation.home_of(&session, homes) else {
        let backend_type = session.backend_type;
        return Err(RestoreError::UnknownAgent { backend_type });
    };
    let restore = Restore {
        repo,
        task,
        session: &session,
        working_dir: options.relocation.working_dir_of(&session),
        home: &home,
        options,
    };
    match session.backend_type {
        BackendType::Claude => claude::restore(&restore),
        BackendType::Codex => codex::restore(&restore),
        _ => goose::restore(&restore),
    }
}

/// What happens to a file on the disk that is neither the beginning of the store's nor goes on after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Differing {
    /// It may be newer, so the restore fails.
    Fails,
    /// It is as good.
    Stays,
    /// Its agent does not read it.
    IsReplaced,
}

/// A restore that runs.
struct Restore<'a> {
    repo: &'a Repo,
    task: &'a TaskId,
    session: &'a Session,
    working_dir: Option<PathBuf>,
    home: &'a Path,
    options: &'a RestoreOptions,
}

/// A file with the decision what happens to it.
struct Planned<'a> {
    /// The path below the home.
    inside: PathBuf,
    content: Content<'a>,
    action: RestoreAction,
    /// The file on the disk when it was compared.
    before: Option<Stamp>,
}

impl<'a> Restore<'a> {
    /// Compares a file with the one on the disk and decides what happens to it.
    fn plan(
        &self,
        inside: PathBuf,
        content: Content<'a>,
        differing: Differing,
    ) -> Result<Planned<'a>, RestoreError> {
        let (state, before) = write::state(self.home, &inside, &content)?;
        let action = match state {
            State::Missing => RestoreAction::Write,
            State::Equal => RestoreAction::Keep,
            State::Shorter => RestoreAction::Replace,
            State::Longer | State::Different if self.options.force => RestoreAction::Replace,
            State::Longer => RestoreAction::KeepLonger,
            State::Different => match differing {
                Differing::Stays => RestoreAction::KeepLonger,
                Differing::IsReplaced => RestoreAction::Replace,
                Differing::Fails => {
                    let path = self.home.join(inside);
                    return Err(RestoreError::Differs { path });
                }
            },
        };
        Ok(Planned {
            inside,
            content,
            action,
            before,
        })
    }

    /// Does what was decided, but in a dry run.
    fn put(&self, planned: &Planned<'_>) -> Result<RestoreStep, RestoreError> {
        let is_written = matches!(
            planned.action,
            RestoreAction::Write | RestoreAction::Replace
        );
        if is_written && !self.options.dry_run {
            write::write(self.home, &planned.inside, &planned.content, planned.before)?;
        }
        Ok(RestoreStep {
            action: planned.action,
            path: self.home.join(&planned.inside),
        })
    }

    /// Returns the lines of a kept file, `None` if the store can't read it whole.
    fn scan(&self, file: &KeptFile<'_>) -> Result<Option<Scan>, RestoreError> {
        match file.scan() {
            Ok(scan) => Ok(Some(scan)),
            Err(RestoreError::Store(error)) if *error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn words(&self) -> Result<Words, RestoreError> {
        Words::of(self.repo, self.task)
    }

    fn invalid_id(&self) -> RestoreError {
        RestoreError::InvalidSessionId {
            backend_type: self.session.backend_type.clone(),
            session_id: self.session.session_id.clone(),
        }
    }

    fn restored(
        &self,
        recording: &Path,
        source: RestoreSource,
        steps: Vec<RestoreStep>,
    ) -> Restored {
        Restored {
            backend_type: self.session.backend_type.clone(),
            session_id: self.session.session_id.clone(),
            home: self.home.to_owned(),
            working_dir: self.working_dir.clone(),
            recording: self.home.join(recording),
            source,
            steps,
        }
    }
}

fn left_out(file: &KeptFile<'_>) -> RestoreStep {
    RestoreStep {
        action: RestoreAction::LeaveOut,
        path: file.name().into(),
    }
}
