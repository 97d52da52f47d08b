//! Whether an agent will go on with a session, looked at before it is started.

mod claude;
pub(crate) mod codex;
pub(crate) mod files;
mod goose;
mod refusal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use turnkeep_repo::{
    BackendType, ErrorKind, RecordingFile, Repo, Result, Session, TaskId, WorkingDir,
};

use crate::kept::present_files;
use crate::layout::codex::RolloutName;
use crate::{AgentHomes, Relocation, RestoreError, RestoreOptions, ResumeCommand, restore};

pub use refusal::Refusal;

/// What a resume of a task's session finds on the disk.
///
/// [`command`](Self::command) and [`headless`](Self::headless) return the command that will work, or the reason
/// for which none will.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResumePlan {
    /// The binding of the task.
    pub session: Session,
    /// The agent's home that was looked at. `None` for an agent that is not known.
    pub home: Option<PathBuf>,
    /// The recording, where the agent looks for it.
    pub recording: RecordingState,
    /// From what the store can write the recording back. `None` if it has neither files nor words of it.
    pub restorable: Option<RestoreSource>,
    /// The folder of the session on this machine. `None` if the binding has none.
    pub working_dir: Option<PathBuf>,
    /// Whether that folder exists. The agent goes on in it, or in the folder where the command is run.
    pub has_working_dir: bool,
    /// What a user should know before the agent starts.
    pub notes: Vec<Note>,
    /// The folder for the agent's variable.
    config_dir: Option<String>,
    needs_restore: bool,
    target: std::result::Result<Target, Refusal>,
}

/// The recording of a session in the agent's home, compared with what the store has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordingState {
    /// It is there. The store has kept as much of it, or nothing.
    Present {
        /// The file: a transcript, a rollout, or Goose's database.
        path: PathBuf,
    },
    /// It is there and longer than the store's.
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It is there, and the store has kept more of it.
    Older {
        /// The file.
        path: PathBuf,
    },
    /// The agent will not find it.
    Missing,
}

impl RecordingState {
    /// Compares the length of a file with the one that the store has kept.
    fn compared(path: PathBuf, length: u64, kept: Option<&Kept>) -> Self {
        match kept {
            Some(kept) if length > kept.length => Self::Newer { path },
            Some(kept) if length < kept.whole_lines => Self::Older { path },
            _ => Self::Present { path },
        }
    }

    /// Returns the name of the state: `present`, `newer`, `older` or `missing`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Present { .. } => "present",
            Self::Newer { .. } => "newer",
            Self::Older { .. } => "older",
            Self::Missing => "missing",
        }
    }

    /// Returns the file, `None` if it is missing.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Present { path } | Self::Newer { path } | Self::Older { path } => Some(path),
            Self::Missing => None,
        }
    }
}

/// From what the store can write a recording back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreSource {
    /// The agent's own files, byte for byte.
    Files,
    /// The words of the conversation. Tool calls are missing.
    Words,
}

impl RestoreSource {
    /// Returns the name of the source: `files` or `words`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Words => "words",
        }
    }
}

/// A remark on a resume that will work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Note {
    /// The folder of the session does not exist.
    #[error("its folder {} does not exist, so the agent goes on where it is started", .folder.display())]
    WorkingDirGone {
        /// The folder.
        folder: PathBuf,
    },
    /// The store has kept more than the file has.
    #[error("the store has kept more of the session than {} has; a restore writes it", .path.display())]
    StoreHasMore {
        /// The file.
        path: PathBuf,
    },
    /// Another project folder of Claude Code has a transcript of the same id, which is not continued.
    #[error("{} is another copy of the session, which does not go on", .path.display())]
    OtherCopy {
        /// The other transcript.
        path: PathBuf,
    },
    /// By its file time the transcript is older than Claude Code keeps one (`cleanupPeriodDays` of its settings, by
    /// default 30). The next run of Claude Code deletes it. If that run goes on with the session, the transcript stays
    /// and the files of its sub-agents and tool results are deleted.
    #[error(
        "{} is older than Claude Code keeps a session: its next run deletes the files of its sub-agents and tools, \
         or, if it goes on with another one, the session itself",
        .path.display()
    )]
    WillBeSwept {
        /// The transcript.
        path: PathBuf,
    },
    /// The configured model provider of Codex is another one than the session's, so the command names the
    /// session's.
    #[error("the session has the model provider `{provider}`, so the command names it")]
    ModelProvider {
        /// The provider.
        provider: String,
    },
    /// A database of Codex that finds threads could not be read.
    #[error("cannot tell what Codex knows of the session: {reason}")]
    DatabaseUnread {
        /// The error.
        reason: String,
    },
}

/// The argument that names the session to the agent.
#[derive(Debug, Clone)]
enum Target {
    /// Claude Code takes an id from the folder of the session, or the path of a transcript from anywhere.
    Claude(String),
    Codex {
        /// The provider to name, if it is not the configured one.
        provider: Option<String>,
    },
    Goose,
}

/// What an agent's home has of a session.
struct Look {
    recording: RecordingState,
    notes: Vec<Note>,
    target: std::result::Result<Target, Refusal>,
}

impl Look {
    fn missing() -> Self {
        Self {
            recording: RecordingState::Missing,
            notes: Vec::new(),
            target: Err(Refusal::Lost),
        }
    }

    fn refused(path: PathBuf, refusal: Refusal) -> Self {
        Self {
            recording: RecordingState::Present { path },
            notes: Vec::new(),
            target: Err(refusal),
        }
    }
}

/// A file that the store has kept.
struct Kept {
    name: String,
    length: u64,
    /// The length up to the last newline. A restore leaves out the rest, unless it is a whole line.
    whole_lines: u64,
}

impl Kept {
    fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// Looks whether an agent will go on with the session of a task, and returns the command or what is in the way.
///
/// It reads the agent's home and writes nothing. It looks at what the agent looks at: the place of the recording,
/// its first lines, for Codex also the database, the configured model provider and the parents of a fork. Other
/// folders than those of the binding come from `relocation`.
///
/// # Errors
/// The errors of the store, such as [`SessionNotFound`](turnkeep_repo::ErrorKind::SessionNotFound). A session that
/// can't be resumed is no error: [`ResumePlan::command`] returns the reason.
///
/// ```
/// use turnkeep_agents::{AgentHomes, RecordingState, Refusal, Relocation, resume_plan};
/// use turnkeep_repo::{BackendType, NewSession, NewTask, Repo};
///
/// let repo = Repo::open_in_memory()?;
/// let task = "fix-login".parse()?;
/// repo.save_task(&NewTask::new("fix-login".parse()?, "Fix the login"))?;
/// let id = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60".parse()?;
/// repo.save_session(&task, &NewSession::new(BackendType::Claude, id))?;
///
/// let home = tempfile::tempdir()?;
/// let of = |agent: &str| home.path().join(agent);
/// let homes = AgentHomes::new(of("claude"), of("codex"), of("goose"));
/// let plan = resume_plan(&repo, &task, &homes, &Relocation::default())?;
/// assert_eq!(plan.recording, RecordingState::Missing);
/// assert_eq!(plan.command().unwrap_err(), Refusal::Lost);
///
/// let project = of("claude/projects/any");
/// std::fs::create_dir_all(&project)?;
/// let transcript = project.join("6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60.jsonl");
/// std::fs::write(&transcript, r#"{"type":"user","uuid":"1","timestamp":"2026-11-30T10:00:00Z","message":{}}"#)?;
/// let plan = resume_plan(&repo, &task, &homes, &Relocation::default())?;
/// let command = plan.headless("And the logout?")?;
/// assert_eq!(command.args[..2], ["-p", "--resume"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn resume_plan(
    repo: &Repo,
    task: &TaskId,
    homes: &AgentHomes,
    relocation: &Relocation,
) -> Result<ResumePlan> {
    let session = repo.get_session(task)?;
    let kept = kept(repo, &session)?;
    let home = relocation.home_of(&session, homes);
    let working_dir = relocation.working_dir_of(&session);
    let has_working_dir = working_dir.as_deref().is_some_and(Path::is_dir);
    let config_dir = relocation.config_dir_of(&session);
    let printed = printable(&session, working_dir.as_deref(), config_dir.as_deref());
    let mut look = match (&home, &printed) {
        (Some(home), Ok(_)) => {
            let start = working_dir.as_deref().filter(|_| has_working_dir);
            look(&session, home, start, &kept)
        }
        _ => Look::missing(),
    };
    if let Err(refusal) = &printed {
        look.target = Err(refusal.clone());
    }
    if home.is_none() {
        let backend = session.backend_type.clone();
        look.target = Err(Refusal::UnknownAgent { backend });
    }
    let mut restorable = restorable(repo, &session, working_dir.as_deref(), &kept)?;
    let mut needs_restore = false;
    if let Err(refusal) = &look.target
        && refusal.is_of_recording()
    {
        let options = RestoreOptions {
            relocation: relocation.clone(),
            dry_run: true,
            ..RestoreOptions::default()
        };
        match restore(repo, task, homes, &options) {
            Ok(planned) => {
                restorable = Some(planned.source);
                needs_restore = planned.steps.iter().any(|step| step.action.is_write());
            }
            Err(RestoreError::Store(error)) => return Err(error),
            Err(RestoreError::NothingKept { .. }) => restorable = None,
            // Something is in its way, which a restore names.
            Err(_) => {}
        }
    }
    if let (Err(Refusal::Lost), Some(from)) = (&look.target, restorable) {
        look.target = Err(Refusal::NotRestored { from });
    }
    if let RecordingState::Older { path } = &look.recording {
        let path = path.clone();
        look.notes.push(Note::StoreHasMore { path });
    }
    if let Some(folder) = working_dir.clone().filter(|_| !has_working_dir) {
        look.notes.push(Note::WorkingDirGone { folder });
    }
    Ok(ResumePlan {
        session,
        home,
        recording: look.recording,
        restorable,
        working_dir,
        has_working_dir,
        notes: look.notes,
        config_dir: printed.unwrap_or_default(),
        needs_restore,
        target: look.target,
    })
}

/// Returns the present state of each file that the store has kept of the task, the latest first.
fn kept(repo: &Repo, session: &Session) -> Result<Vec<Kept>> {
    let task = &session.task_id;
    let kept = present_files(repo, task)?.into_iter().map(|file| {
        let mut kept = Kept {
            name: file.name.to_string(),
            length: file.length,
            whole_lines: file.length,
        };
        if is_of(session, &kept) {
            kept.whole_lines = whole_lines(repo, task, &file)?;
        }
        Ok(kept)
    });
    kept.collect()
}

/// Returns the length of a kept file without a last line that has no newline.
fn whole_lines(repo: &Repo, task: &TaskId, file: &RecordingFile) -> Result<u64> {
    /// The longest line that is looked for.
    const MAX_TAIL: u64 = 256 * 1024;
    let mut offset = file.length.saturating_sub(MAX_TAIL);
    let mut end = file.length;
    loop {
        let bytes = match repo.read_recording(task, file.number, offset) {
            Ok(bytes) => bytes,
            // A check reports it, and a restore leaves it out.
            Err(error) if *error.kind() == ErrorKind::Corrupt => return Ok(file.length),
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            return Ok(end);
        }
        if let Some(newline) = bytes.iter().rposition(|byte| *byte == b'\n') {
            end = offset + u64::try_from(newline).unwrap_or_default() + 1;
        }
        offset += u64::try_from(bytes.len()).unwrap_or_default();
    }
}

fn restorable(
    repo: &Repo,
    session: &Session,
    working_dir: Option<&Path>,
    kept: &[Kept],
) -> Result<Option<RestoreSource>> {
    // Claude Code names the folder of its recordings after the working folder.
    let has_place = session.backend_type != BackendType::Claude || working_dir.is_some();
    Ok(if matches!(session.backend_type, BackendType::Other(_)) {
        None
    } else if kept.iter().any(|file| is_of(session, file)) {
        Some(RestoreSource::Files)
    } else if has_place && repo.count_history(&session.task_id)? > 0 {
        Some(RestoreSource::Words)
    } else {
        None
    })
}

/// Whether a kept file is the main one of a session. A task may have had other sessions before.
fn is_of(session: &Session, file: &Kept) -> bool {
    let id = session.session_id.as_str();
    let name = file.file_name();
    match session.backend_type {
        BackendType::Codex => RolloutName::of(name).is_some_and(|name| name.thread() == id),
        _ => name.rsplit_once('.').is_some_and(|(stem, _)| stem == id),
    }
}

fn look(session: &Session, home: &Path, start: Option<&Path>, kept: &[Kept]) -> Look {
    let id = session.session_id.as_str();
    match session.backend_type {
        BackendType::Claude => claude::look(home, id, start, kept),
        BackendType::Codex => codex::look(home, id, kept),
        _ => goose::look(home, id),
    }
}

/// Checks that a shell gets the id and the folders as they are, and returns the config folder. A terminal or shell
/// into which a command is pasted would obey a control character even inside quotes.
fn printable(
    session: &Session,
    working_dir: Option<&Path>,
    config_dir: Option<&Path>,
) -> std::result::Result<Option<String>, Refusal> {
    check("session id", session.session_id.as_str())?;
    if let Some(folder) = working_dir {
        as_text("working folder", folder)?;
    }
    config_dir
        .map(|folder| as_text("config folder", folder).map(str::to_owned))
        .transpose()
}

fn as_text<'a>(field: &'static str, path: &'a Path) -> std::result::Result<&'a str, Refusal> {
    let reason = "is not UTF-8";
    let text = path.to_str();
    let text = text.ok_or(Refusal::Unprintable { field, reason })?;
    check(field, text).map(|()| text)
}

fn check(field: &'static str, text: &str) -> std::result::Result<(), Refusal> {
    let reason = "has a control character";
    match text.contains(char::is_control) {
        true => Err(Refusal::Unprintable { field, reason }),
        false => Ok(()),
    }
}

impl ResumePlan {
    /// Returns the command that resumes the session in the agent's terminal.
    ///
    /// # Errors
    /// The reason for which no command will work.
    pub fn command(&self) -> std::result::Result<ResumeCommand, Refusal> {
        let id = self.session.session_id.as_str();
        let command = match self.target.as_ref().map_err(Clone::clone)? {
            Target::Claude(session) => ResumeCommand::new("claude", ["--resume", session]),
            Target::Codex { provider } => {
                let command = ResumeCommand::new("codex", ["resume"]).then([id]);
                let command = name_provider(command, provider.as_deref());
                match self.is_in_bound_folder() {
                    true => command,
                    // Codex would ask whether to go on in the old folder.
                    false => command.options(["-C", "."]),
                }
            }
            Target::Goose => goose_session(ResumeCommand::new("goose", ["session"]), id),
        };
        Ok(self.in_folders(command))
    }

    /// Returns the command that gives the session one prompt, prints the answer and ends: `claude -p`, `codex exec`
    /// or `goose run`. [`ResumeCommand::options`] adds how the answer is printed and what the agent may do.
    ///
    /// The answer may come from a new session id: versions 1 of Claude Code gave one at each resume. Save the id
    /// that the agent prints.
    ///
    /// Codex refuses a folder that is in no Git repository, unless `--skip-git-repo-check` is given. The command has
    /// that option if there is no repository: the session ran there before.
    ///
    /// # Errors
    /// The reason for which no command will work. [`Refusal::Prompt`] if the prompt is blank, too long for an
    /// argument, or one that the agent would not take as a prompt.
    pub fn headless(&self, prompt: &str) -> std::result::Result<ResumeCommand, Refusal> {
        check_prompt(prompt)?;
        let id = self.session.session_id.as_str();
        let command = match self.target.as_ref().map_err(Clone::clone)? {
            Target::Claude(session) => {
                ResumeCommand::new("claude", ["-p", "--resume", session]).then(["--", prompt])
            }
            Target::Codex { .. } if prompt == "-" => {
                let reason = "`-` makes Codex read standard input";
                return Err(Refusal::Prompt { reason });
            }
            Target::Codex { provider } => {
                let command = ResumeCommand::new("codex", ["exec", "resume"]);
                let command = name_provider(command.then(["--", id, prompt]), provider.as_deref());
                match self.is_in_git() {
                    true => command,
                    false => command.options(["--skip-git-repo-check"]),
                }
            }
            Target::Goose => {
                let command = goose_session(ResumeCommand::new("goose", ["run"]), id);
                match prompt.starts_with('-') {
                    true => command.then([&*format!("--text={prompt}")]),
                    false => command.then(["--text", prompt]),
                }
            }
        };
        Ok(self.in_folders(command))
    }

    /// Whether a restore makes a resume work that does not now. [`restore`] writes from the same source.
    #[must_use]
    pub fn needs_restore(&self) -> bool {
        self.needs_restore
    }

    fn in_folders(&self, mut command: ResumeCommand) -> ResumeCommand {
        command.env = self.variable().zip(self.config_dir.clone());
        command.current_dir = self.working_dir.clone().filter(|_| self.has_working_dir);
        command
    }

    /// Whether the agent starts in the folder of the binding. It may be another one on this machine.
    fn is_in_bound_folder(&self) -> bool {
        let bound = self.session.working_dir.as_ref().map(WorkingDir::as_path);
        bound == self.working_dir.as_deref() && (self.has_working_dir || bound.is_none())
    }

    fn variable(&self) -> Option<&'static str> {
        match self.session.backend_type {
            BackendType::Claude => Some("CLAUDE_CONFIG_DIR"),
            BackendType::Codex => Some("CODEX_HOME"),
            BackendType::Goose => Some("GOOSE_PATH_ROOT"),
            _ => None,
        }
    }

    /// Whether the folder of the session is in a Git repository, as Codex sees it: `.git` is in it or above.
    fn is_in_git(&self) -> bool {
        let folder = self.working_dir.as_ref().filter(|_| self.has_working_dir);
        let folder = folder.and_then(|folder| folder.canonicalize().ok());
        folder.is_some_and(|folder| folder.ancestors().any(|above| above.join(".git").exists()))
    }
}

fn name_provider(command: ResumeCommand, provider: Option<&str>) -> ResumeCommand {
    match provider {
        Some(provider) => command.options(["-c", &*format!("model_provider={provider:?}")]),
        None => command,
    }
}

/// An id that begins with `-` is passed in a form that is no option.
fn goose_session(command: ResumeCommand, id: &str) -> ResumeCommand {
    match id.starts_with('-') {
        true => command.options(["--resume", &*format!("--session-id={id}")]),
        false => command.options(["--resume", "--session-id", id]),
    }
}

fn check_prompt(prompt: &str) -> std::result::Result<(), Refusal> {
    /// The length of an argument on Linux, in bytes with the NUL.
    const MAX_ARGUMENT: usize = 128 * 1024;
    let reason = if prompt.trim().is_empty() {
        "it is blank"
    } else if prompt.contains('\0') {
        "it has a NUL"
    } else if prompt.len() >= MAX_ARGUMENT {
        "it is too long for an argument; the agents read a long one from standard input"
    } else {
        return Ok(());
    };
    Err(Refusal::Prompt { reason })
}
