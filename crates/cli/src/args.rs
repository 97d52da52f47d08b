//! The command line. Whatever gets past here is a valid value.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use turnkeep_repo::{
    BackendType, FailureMode, InvalidValue, MessageKey, Role, SessionId, TaskId, TaskStatus,
    WorkingDir,
};

use crate::units;

const GLOBAL: &str = "Global options";

/// Keep, import and show the sessions and conversations of coding agents
#[derive(Debug, Parser)]
#[command(name = "turnkeep", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Use this store instead of the one in your data folder: a file, or `postgres://…`
    ///
    /// The environment variable `TURNKEEP_DB` does the same. A server's address is a connection
    /// URI: `postgres://user@host:port/database`. Other users of the machine can see what a command
    /// was called with, so a password is better kept in `~/.pgpass`.
    #[arg(long, value_name = "STORE", global = true, help_heading = GLOBAL)]
    pub(crate) db: Option<PathBuf>,

    /// Trust this role as the owner of the store on a server
    ///
    /// A user with no more than the privileges it needs names the role that administers the store here.
    /// The owner of the database, superusers, and the roles that the user is a member of are trusted
    /// anyway. See docs/postgresql.md.
    #[arg(long, value_name = "ROLE", global = true, help_heading = GLOBAL)]
    pub(crate) owner: Option<String>,

    /// Print JSON, one object a line
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import the sessions that agents have recorded, or what `export` has written
    Import(ImportArgs),
    /// Write everything of a store as lines of JSON
    ///
    /// As of one moment, while others may write. The same store always gives the same bytes; `import
    /// --format jsonl` reads them. The format is documented in docs/jsonl.md.
    Export(ExportArgs),
    /// Plan tasks and see how far they are
    #[command(subcommand)]
    Task(TaskCommand),
    /// Show the conversation of a task
    History(HistoryArgs),
    /// See and change which agent session a task is bound to
    #[command(subcommand)]
    Session(SessionCommand),
    /// Append a message to the conversation of a task
    Append(AppendArgs),
    /// Print the command that resumes the session of a task, or run it
    Resume(ResumeArgs),
    /// Copy everything of a store into another, a file or a server
    ///
    /// May be interrupted; copying again adds only what is new. Stops at a task that the other
    /// store has something newer of. Ends with the number and a checksum of the rows of each table,
    /// read back from both stores.
    Copy(CopyArgs),
    /// Show what the store holds: by status, agent and month, and the largest tasks
    Stats,
    /// Delete tasks that are over and no longer wanted, with everything under them, for good
    ///
    /// Deletes the tasks that match every option. A task that is not over is kept, and so are the tasks it
    /// waits for. Asks first on a terminal; elsewhere deletes with `--yes` only.
    Prune(PruneArgs),
    /// Look whether the store is as it should be
    ///
    /// Changes nothing: the store is neither made nor brought up to date. Reads every row, has SQLite
    /// check the file, and says in words what is wrong and what to do about it. The exit code is then
    /// 1, also for a file that no other command would open.
    Check,
    /// Copy the store into a new file while others go on writing, or put such a copy back
    ///
    /// The copy is what the store holds at one moment, readable by you alone, read back and synced to
    /// the disk. A file that exists is never written over.
    Backup(BackupArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of turnkeep or of one of its commands
    Man {
        /// The command, such as `task add`
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Take only recordings of this agent
    #[arg(long, value_name = "AGENT", value_parser = agent_with_recordings())]
    pub(crate) backend: Option<BackendType>,

    /// Say what the files are: recordings of agents, or lines of JSON that `export` has written
    #[arg(long, value_enum, default_value = "recordings")]
    pub(crate) format: ImportFormat,

    /// Files, or folders to search: ~/.claude, ~/.codex, ~/.local/share/goose; `-` is standard input, for
    /// lines of JSON
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    Recordings,
    Jsonl,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Say what to write
    #[arg(long, value_enum, default_value = "jsonl")]
    pub(crate) format: ExportFormat,

    /// The file to write, which must not exist; standard output if it is `-` or missing
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List all tasks, the oldest first
    List,
    /// Save a task; of one that exists only what is given changes, never its status
    Add(TaskAddArgs),
    /// Show a task with its sessions and the number of its turns
    Show {
        #[command(flatten)]
        task: TaskArg,
    },
    /// Set how far a task has come; a result or error not given is cleared
    Status(TaskStatusArgs),
    /// Set a task running, unless someone else has
    Claim {
        #[command(flatten)]
        task: TaskArg,
    },
    /// List the tasks that can start
    Ready,
    /// Delete a task with its sessions and its conversation, for good
    ///
    /// Tasks that wait for it no longer do.
    Rm {
        #[command(flatten)]
        task: TaskArg,
        /// Leave nothing readable of it in the file, which is written anew
        #[arg(long)]
        secure: bool,
    },
    /// Set all running tasks pending again, after a crash of the only orchestrator
    Requeue,
}

/// The task that a command is about. One that looks like an option stands after `--`: a mistyped
/// option must not become a task.
#[derive(Debug, Args)]
pub(crate) struct TaskArg {
    /// The task's id
    #[arg(value_name = "TASK")]
    pub(crate) id: TaskId,
}

#[derive(Debug, Args)]
pub(crate) struct TaskAddArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// Give it a title; the id stands in for a missing one
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) name: Option<String>,

    /// Say what the agent is to do
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,

    /// Say which part the agent plays
    #[arg(long, value_name = "ROLE", allow_hyphen_values = true)]
    pub(crate) agent_role: Option<String>,

    /// Name a file the task will write; may be repeated
    #[arg(long = "writes", value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) writes_files: Vec<String>,

    /// Name a task to wait for; may be repeated
    #[arg(long, value_name = "TASK", allow_hyphen_values = true)]
    pub(crate) depends_on: Vec<TaskId>,

    /// Say what its failure means for the tasks that wait for it; hard by default
    #[arg(long, value_name = "MODE", value_parser = failure_mode())]
    pub(crate) failure_mode: Option<FailureMode>,

    /// Set where a new task starts
    #[arg(long, default_value = "pending", value_parser = task_status())]
    pub(crate) status: TaskStatus,
}

#[derive(Debug, Args)]
pub(crate) struct TaskStatusArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// Where it stands now
    #[arg(value_parser = task_status())]
    pub(crate) status: TaskStatus,

    /// Say what came of it
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) result: Option<String>,

    /// Say what went wrong
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) error: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// Show only the last N turns
    #[arg(long, value_name = "N", conflicts_with_all = ["after", "limit"])]
    pub(crate) last: Option<u32>,

    /// Show only turns after this one
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) after: Option<i64>,

    /// Show at most N turns
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Show the session a task is bound to
    Get {
        #[command(flatten)]
        task: TaskArg,
        /// Fail if it is another agent's
        #[arg(long, value_name = "AGENT")]
        backend: Option<BackendType>,
    },
    /// Bind a task to a session, in place of any other
    Set(SessionSetArgs),
    /// List the sessions of all tasks
    List,
    /// List every session a task was ever bound to
    Log {
        #[command(flatten)]
        task: TaskArg,
    },
    /// Unbind a task from a session that is dead
    Retire(SessionRetireArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SessionSetArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// The agent: claude, codex, goose or any other name
    #[arg(long, value_name = "AGENT")]
    pub(crate) backend: BackendType,

    /// The agent's own id of the session
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) session_id: SessionId,

    /// The folder the agent runs in, kept as given
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) working_dir: Option<WorkingDir>,
}

#[derive(Debug, Args)]
pub(crate) struct SessionRetireArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// The session that is dead; another one stays
    pub(crate) session_id: SessionId,

    /// Say why
    #[arg(long, default_value = "retired", allow_hyphen_values = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// Say who speaks
    #[arg(long, value_parser = role())]
    pub(crate) role: Role,

    /// Name the message, so that appending it again adds nothing
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) key: Option<MessageKey>,

    /// What is said; if it is `-` or missing, UTF-8 text from standard input, kept as it is
    pub(crate) text: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// Run the command in its folder instead of printing it
    #[arg(long)]
    pub(crate) exec: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The store to copy: a file, or `postgres://…`
    #[arg(long, value_name = "STORE")]
    pub(crate) from: PathBuf,

    /// The store to copy it into, which is made if it is missing
    #[arg(long, value_name = "STORE")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["older_than", "status", "keep_size", "vacuum"]).required(true).multiple(true))]
pub(crate) struct PruneArgs {
    /// Only tasks without a turn or a change of status for so long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = units::age)]
    pub(crate) older_than: Option<Duration>,

    /// Only tasks of this status; may be repeated. Without: completed, failed and skipped
    #[arg(long, value_parser = ended())]
    pub(crate) status: Vec<TaskStatus>,

    /// Only as many, the least recently active first, as it takes for all texts to have this size:
    /// 500MB, 2GiB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) keep_size: Option<u64>,

    /// Say what would go, and delete nothing
    #[arg(long, conflicts_with = "vacuum")]
    pub(crate) dry_run: bool,

    /// Delete without asking. Without a terminal, or with `--json`, nothing is deleted otherwise
    #[arg(long, short, conflicts_with = "dry_run")]
    pub(crate) yes: bool,

    /// Then write the file anew, which takes all free room out of it. Whoever writes waits meanwhile
    #[arg(long)]
    pub(crate) vacuum: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,

    /// The file to make; `./restore` for one of that name
    #[arg(value_name = "FILE", required = true)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Replace the store by a backup, while no program has the store open
    ///
    /// The backup is read as a whole first, and stays as it is. The old files are kept in a folder
    /// beside the store, `….before-restore`. Interrupted, it is done again.
    Restore {
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

fn agent_with_recordings() -> impl TypedValueParser<Value = BackendType> {
    one_of(["claude", "codex", "goose"])
}

fn role() -> impl TypedValueParser<Value = Role> {
    one_of(Role::ALL.iter().map(|role| role.as_str()))
}

fn task_status() -> impl TypedValueParser<Value = TaskStatus> {
    one_of(TaskStatus::ALL.iter().map(|status| status.as_str()))
}

fn ended() -> impl TypedValueParser<Value = TaskStatus> {
    one_of(TaskStatus::ENDED.iter().map(|status| status.as_str()))
}

fn failure_mode() -> impl TypedValueParser<Value = FailureMode> {
    one_of(FailureMode::ALL.iter().map(|mode| mode.as_str()))
}

/// Parses one of the texts, which the help lists.
fn one_of<T>(texts: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = InvalidValue> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(texts).try_map(|text| text.parse())
}
