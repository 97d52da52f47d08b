//! The command line. Its parsers check all values.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, ConfigDir, FailureMode, InvalidValue, MessageKey, Metadata, Role, Seq, SessionId,
    TaskId, TaskStatus, WorkingDir,
};

use crate::cmd::HookAgent;
use crate::metadata::{KeyAndTextParser, MetadataParser};
use crate::relocation::RelocationArgs;
use crate::units;
use crate::when;

const GLOBAL: &str = "Global options";

/// Keep, import and show the sessions and conversations of coding agents
#[derive(Debug, Parser)]
#[command(name = "turnkeep", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Use this store instead of the one in your data folder: a file, or `postgres://…`
    ///
    /// The environment variable `TURNKEEP_DB` does the same. The address of a server is a connection URI:
    /// `postgres://user@host:port/database`. Keep its password in `~/.pgpass`, because other users of the
    /// machine can see the arguments of a command.
    #[arg(long, value_name = "STORE", global = true, help_heading = GLOBAL)]
    pub(crate) db: Option<PathBuf>,

    /// Trust this role as the owner of the store on a server
    ///
    /// Needed if the role that administers the store is not the owner of the database, not a superuser, and
    /// not a role of which the user is a member. See docs/postgresql.md.
    #[arg(long, value_name = "ROLE", global = true, help_heading = GLOBAL)]
    pub(crate) owner: Option<String>,

    /// Print JSON, one object a line
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Parses the arguments of the process.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        Self::try_parse_from(with_excluded_words(env::args_os()))
    }
}

/// Puts a blank before each word that a search leaves out (`-logout`), which clap would take for an option.
fn with_excluded_words(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut with_blanks: Vec<OsString> = Vec::new();
    let mut command: Option<OsString> = None;
    for argument in arguments {
        let text = argument.to_string_lossy();
        let is_value = with_blanks
            .last()
            .is_none_or(|last| last == "--db" || last == "--owner");
        let excluded = text.strip_prefix('-').unwrap_or_default();
        if command.as_ref().is_some_and(|command| command == "search") {
            let is_word = excluded.starts_with(|it: char| it == '"' || it.is_alphanumeric());
            if is_word && excluded != "h" {
                with_blanks.push(format!(" {text}").into());
                continue;
            }
        } else if command.is_none() && !is_value && !text.starts_with('-') {
            command = Some(argument.clone());
        }
        with_blanks.push(argument);
    }
    with_blanks
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import recorded sessions of agents, or an export
    Import(ImportArgs),
    /// Store what an agent reports to its hooks: prompts and answers, as soon as they are said
    ///
    /// Reads the event as JSON from standard input, as hooks of Claude Code and Codex get it, or from the
    /// argument that Codex adds to its `notify` command. Never fails the agent: prints nothing on standard
    /// output, and ends within 200 ms with the exit code 0. A slow store is written in the background. Errors go to
    /// `turnkeep/hook.log` in your data folder. The settings of the agents are in docs/live.md.
    Hook(HookArgs),
    /// Import all sessions, and then what changes, within two seconds, until it is ended
    ///
    /// Follows the homes of Claude Code, Codex and Goose, which need not exist yet. Keeps words and files as `import`
    /// does, and prints a line for each session that gets something. If the store is locked or its server is away, changes wait for it. Ctrl-C or SIGTERM stores
    /// what there is and ends with the exit code 0. A unit for systemd and one for launchd are in docs/live.md.
    Watch(WatchArgs),
    /// Export the whole store as JSON lines, or all conversations as HTML pages
    ///
    /// Exports one snapshot, while other programs may write. The same store always gives the same bytes.
    /// `import --format jsonl` reads them. The format is documented in docs/jsonl.md.
    Export(ExportArgs),
    /// Plan tasks and show their progress
    #[command(subcommand)]
    Task(TaskCommand),
    /// List sessions and tasks, the last active first
    ///
    /// Lists those that match every option, on a terminal as many as fit. Imported sessions are tasks that are completed,
    /// so their status is left out. The ids may be shortened; `show`, `resume` and `restore` take them.
    List(ListArgs),
    /// Show a conversation for reading, or write it as Markdown or as an HTML page
    ///
    /// Renders the Markdown of the answers for the terminal, with local times. What is longer than the terminal goes
    /// through `$PAGER`, or else `less`. The page is one file without scripts, safe to open and to share.
    Show(ShowArgs),
    /// Print the turns of a task as they are, for programs
    History(HistoryArgs),
    /// Find words in all conversations
    ///
    /// Finds the turns with all the words, in any order and case, with or without accents: the best first, and of
    /// equally good ones the latest. `"login fails"` is a phrase, `fail*` the beginning of a word, and `-logout` leaves
    /// turns out. The first search makes an index, beside the store or in your cache folder, which takes some seconds
    /// per 100 MB of words. Later ones bring it up to date. It may be deleted at any time.
    Search(SearchArgs),
    /// Show and change the agent session of a task
    #[command(subcommand)]
    Session(SessionCommand),
    /// Show and drop the files that an import has kept byte for byte
    #[command(subcommand)]
    Recording(RecordingCommand),
    /// Append a message to the conversation of a task
    Append(AppendArgs),
    /// Print or run the command that resumes the session of a task
    ///
    /// Looks first whether the agent will find the session, and prints only a command that works. The exit code is 3
    /// if the recording is gone and the store can write it back, 4 if nothing will work.
    Resume(ResumeArgs),
    /// Put the recording of a task's session back, so that its agent can resume it
    ///
    /// Writes the files of the session as they were kept, or a recording made of its turns if none were, into the
    /// home of the agent. A file that has more than the store is never replaced, and no other that differs without
    /// `--force`. May be repeated.
    Restore(RestoreArgs),
    /// Copy all tasks of a store into another, a file or a server
    ///
    /// May be interrupted; the next copy adds the rest. Stops at a task that is newer in the other store. Ends
    /// with the number and a checksum of the rows of each table, read back from both stores.
    Copy(CopyArgs),
    /// Show the size of the store by status, agent and month, and the largest tasks
    Stats,
    /// Delete old ended tasks with their sessions and conversations, for good
    ///
    /// Deletes the tasks that match every option. Unfinished tasks and their dependencies are kept. Asks
    /// first on a terminal; elsewhere it deletes only with `--yes`. Imports leave the sessions of deleted tasks out,
    /// and warn if an agent goes on with one: see `turnkeep removed`.
    Prune(PruneArgs),
    /// List the sessions of removed tasks, which imports leave out, or import those of a task again
    Removed(RemovedArgs),
    /// Check the store for damage
    ///
    /// Never changes, creates or migrates the store. Reads every row, runs SQLite's own check, and reports each
    /// finding with advice. With a finding the exit code is 1, also for a file that no other command would
    /// open. Of each agent's home it says how many sessions are not kept, which is no finding.
    Check,
    /// Back the store up into a new file while other programs write, or restore a backup
    ///
    /// The backup is one snapshot of the store, readable only by you, read back and synced to the disk. An
    /// existing file is never overwritten.
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
pub(crate) struct RemovedArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RemovedCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemovedCommand {
    /// Let the next import bring the sessions of a removed task back
    Lift {
        #[command(flatten)]
        task: TaskArg,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Import only recordings of this agent
    #[arg(long, value_name = "AGENT", value_parser = agent_with_recordings())]
    pub(crate) backend: Option<BackendType>,

    /// The format of the files: recordings of agents, or the JSON lines of an export
    #[arg(long, value_enum, default_value = "recordings")]
    pub(crate) format: ImportFormat,

    /// Keep only the words of the sessions, not their files
    #[arg(long)]
    pub(crate) words_only: bool,

    /// Files, or folders to search: ~/.claude, ~/.codex, ~/.local/share/goose; `-` is standard input, for an
    /// export
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    Recordings,
    Jsonl,
}

#[derive(Debug, Args)]
pub(crate) struct HookArgs {
    /// The agent
    #[arg(value_enum)]
    pub(crate) agent: HookAgent,

    /// The event, as Codex passes it to its `notify` command; without it, it is read from standard input
    #[arg(value_name = "JSON")]
    pub(crate) event: Option<OsString>,

    /// Store the event in this process, and fail if that fails
    #[arg(long, hide = true)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Look at all files this often, besides the notifications of changes (`s`, `m`, `h`)
    ///
    /// A network drive, or a folder that a virtual machine shares, gives no notifications of changes that were made
    /// on the other side: use `--interval 2s` there.
    #[arg(long, value_name = "AGE", default_value = "60s", value_parser = units::age)]
    pub(crate) interval: Duration,

    /// Folders to follow instead of the homes of the agents
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The format to write
    #[arg(long, value_enum, default_value = "jsonl")]
    pub(crate) format: ExportFormat,

    /// Write an HTML page for each conversation, and an index, into this folder
    ///
    /// Again at any time: only what has changed is written. The pages are as those of `show --html`, the index has a
    /// field that finds titles, folders and prompts. Pages of removed tasks stay until you delete them.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["format", "file"])]
    pub(crate) html: Option<PathBuf>,

    /// Replace home folders, e-mail addresses, and what looks like a key or a password in the pages
    #[arg(long, requires = "html")]
    pub(crate) redact: bool,

    /// The file to create; standard output if it is `-` or missing
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// The same as `turnkeep list`
    List(ListArgs),
    /// Save a task; of an existing one, only the given options change, never its status
    Add(TaskAddArgs),
    /// Show a task with its sessions and the number of its turns
    Show {
        #[command(flatten)]
        task: ShortIdArg,
    },
    /// Set status, result and error of a task; one that is not given is cleared
    Status(TaskStatusArgs),
    /// Set a task running, unless another worker has claimed it or a running task writes one of its files
    Claim {
        #[command(flatten)]
        task: TaskArg,
    },
    /// List the tasks that can start: their dependencies are done, and no running task writes their files
    Ready,
    /// Delete a task with its sessions and its conversation, for good
    ///
    /// Other tasks no longer depend on it. Imports leave its sessions out, and warn if an agent goes on with one;
    /// `removed` lists them and lifts that.
    Rm {
        #[command(flatten)]
        task: TaskArg,
        /// Rewrite the file, so that no text of the task is left in it
        #[arg(long)]
        secure: bool,
    },
    /// Set all running tasks pending, after a crash of the only orchestrator
    Requeue,
}

/// The task of a command. An id that looks like an option must follow `--`, so that a mistyped option does
/// not become a task.
#[derive(Debug, Args)]
pub(crate) struct TaskArg {
    /// The task's id
    #[arg(value_name = "TASK")]
    pub(crate) id: TaskId,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those of this status; may be repeated
    #[arg(long, value_parser = task_status())]
    pub(crate) status: Vec<TaskStatus>,

    /// Only sessions of this agent
    #[arg(long, value_name = "AGENT", alias = "backend")]
    pub(crate) agent: Option<BackendType>,

    /// Only sessions in this folder or below it
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) folder: Option<PathBuf>,

    /// Only sessions in this folder, as it was stored, byte for byte
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) working_dir: Option<WorkingDir>,

    /// Only tasks with this role of the agent
    #[arg(long, value_name = "ROLE", allow_hyphen_values = true)]
    pub(crate) agent_role: Option<String>,

    /// Only tasks with this text in their metadata; may be repeated
    #[arg(long, value_name = "KEY=TEXT", value_parser = KeyAndTextParser, allow_hyphen_values = true)]
    pub(crate) metadata: Vec<(String, String)>,

    /// Only those with a turn or a change of status since then: 2026-02-03, today, 12h, 7d
    #[arg(long, value_name = "WHEN", alias = "active-since", value_parser = when::since)]
    pub(crate) since: Option<DateTime<Utc>>,

    /// Sort by the last activity, newest first, by creation, oldest first, or by id
    #[arg(long, value_enum, default_value = "active")]
    pub(crate) sort: TaskSort,

    /// List at most N
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,

    /// List all, also on a terminal
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskSort {
    Active,
    Created,
    Id,
}

#[derive(Debug, Args)]
pub(crate) struct TaskAddArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// Set the title of the task, by default its id
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) name: Option<String>,

    /// Set the instructions for the agent
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,

    /// Set the role of the agent
    #[arg(long, value_name = "ROLE", allow_hyphen_values = true)]
    pub(crate) agent_role: Option<String>,

    /// Add a file that the task will write; may be repeated
    #[arg(long = "writes", value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) writes_files: Vec<String>,

    /// Add a dependency; may be repeated
    #[arg(long, value_name = "TASK", allow_hyphen_values = true)]
    pub(crate) depends_on: Vec<TaskId>,

    /// Set the effect of a failure on dependents; hard by default
    #[arg(long, value_name = "MODE", value_parser = failure_mode())]
    pub(crate) failure_mode: Option<FailureMode>,

    /// Give the task out only from this time on: 2026-12-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    pub(crate) not_before: Option<DateTime<Utc>>,

    /// Set data of your own: a JSON object, or `@FILE` with one in it; kept byte for byte
    #[arg(long, value_name = "JSON", allow_hyphen_values = true, value_parser = MetadataParser)]
    pub(crate) metadata: Option<Metadata>,

    /// Set the status of a new task
    #[arg(long, default_value = "pending", value_parser = task_status())]
    pub(crate) status: TaskStatus,
}

#[derive(Debug, Args)]
pub(crate) struct TaskStatusArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// The new status
    #[arg(value_parser = task_status())]
    pub(crate) status: TaskStatus,

    /// Set the result
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) result: Option<String>,

    /// Set the error
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) error: Option<String>,
}

/// A task or a session whose id is long.
#[derive(Debug, Args)]
pub(crate) struct ShortIdArg {
    /// The id of a task or of its session, or the beginning of one that no other has
    #[arg(value_name = "ID")]
    pub(crate) id: TaskId,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Only sessions of this agent
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<BackendType>,

    /// Only sessions in this folder or below it
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) folder: Option<PathBuf>,

    /// Only this task
    #[arg(long, value_name = "TASK", allow_hyphen_values = true)]
    pub(crate) task: Option<TaskId>,

    /// Only turns of this role
    #[arg(long, value_parser = role())]
    pub(crate) role: Option<Role>,

    /// Only turns since then: 2026-02-03, today, 12h, 7d
    #[arg(long, value_name = "WHEN", value_parser = when::since)]
    pub(crate) since: Option<DateTime<Utc>>,

    /// Only turns until then: 2026-02-03 (with that day), yesterday, 7d
    #[arg(long, value_name = "WHEN", value_parser = when::until)]
    pub(crate) until: Option<DateTime<Utc>>,

    /// Show at most N turns
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) limit: u32,

    /// The words. A phrase is an argument with blanks: `"login fails"`
    #[arg(value_name = "WORDS", required = true)]
    pub(crate) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) task: ShortIdArg,

    /// Print Markdown
    #[arg(long, group = "form", conflicts_with = "json")]
    pub(crate) markdown: bool,

    /// Write an HTML page into a new file, readable only by you
    #[arg(long, value_name = "FILE", group = "form")]
    pub(crate) html: Option<PathBuf>,

    /// Print the turns as they are, as `history` does
    #[arg(long, group = "form", conflicts_with = "redact")]
    pub(crate) raw: bool,

    /// Show the tool calls of the kept recording among the turns, a line each
    #[arg(long, conflicts_with_all = ["raw", "json"])]
    pub(crate) tools: bool,

    /// Show their whole inputs and results. A page and Markdown always have them
    #[arg(long, requires = "tools")]
    pub(crate) full: bool,

    /// Then show new turns as they come, also from `watch`, until Ctrl-C
    #[arg(long, short, conflicts_with_all = ["markdown", "html", "tools"])]
    pub(crate) follow: bool,

    /// Replace home folders, e-mail addresses, and what looks like a key or a password
    ///
    /// Says how many of each it has replaced. It finds careless copies, not hidden ones.
    #[arg(long, conflicts_with = "json")]
    pub(crate) redact: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) task: ShortIdArg,

    /// Show only the last N turns
    #[arg(long, value_name = "N", conflicts_with_all = ["after", "limit"])]
    pub(crate) last: Option<u32>,

    /// Show only turns after this one
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(0..=Seq::MAX.get()))]
    pub(crate) after: Option<i64>,

    /// Show at most N turns
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,

    /// Then show new turns as they come, until Ctrl-C
    #[arg(long, short, conflicts_with = "limit")]
    pub(crate) follow: bool,
}

impl From<ShowArgs> for HistoryArgs {
    fn from(args: ShowArgs) -> Self {
        Self {
            task: args.task,
            last: None,
            after: None,
            limit: None,
            follow: args.follow,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Show the session of a task
    Get {
        #[command(flatten)]
        task: ShortIdArg,
        /// Fail if it is a session of another agent
        #[arg(long, value_name = "AGENT")]
        backend: Option<BackendType>,
    },
    /// Bind a task to a session, which replaces its current one
    Set(SessionSetArgs),
    /// List the sessions of all tasks
    List,
    /// List all sessions that a task had
    Log {
        #[command(flatten)]
        task: ShortIdArg,
    },
    /// Unbind a task from a dead session
    Retire(SessionRetireArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecordingCommand {
    /// List the kept files of a task; of several with one name the last is the present state
    List {
        #[command(flatten)]
        task: ShortIdArg,
    },
    /// Print the bytes of a kept file
    ///
    /// A terminal gets only what it shows as it is, no control characters.
    Cat {
        #[command(flatten)]
        task: ShortIdArg,
        /// The name of the file
        name: String,
    },
    /// Drop the kept files of a task; its conversation stays
    ///
    /// An import keeps a file again once it has changed.
    Rm {
        #[command(flatten)]
        task: TaskArg,
    },
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

    /// The folder the agent runs in, stored unchanged
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) working_dir: Option<WorkingDir>,

    /// The folder with the agent's sessions, if it is not the usual one: `CLAUDE_CONFIG_DIR`, `CODEX_HOME` or
    /// `GOOSE_PATH_ROOT`
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) config_dir: Option<ConfigDir>,

    /// Set data of your own: a JSON object, or `@FILE` with one in it; kept byte for byte
    #[arg(long, value_name = "JSON", allow_hyphen_values = true, value_parser = MetadataParser)]
    pub(crate) metadata: Option<Metadata>,
}

#[derive(Debug, Args)]
pub(crate) struct SessionRetireArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// The dead session; another one stays bound
    pub(crate) session_id: SessionId,

    /// Set the reason
    #[arg(long, default_value = "retired", allow_hyphen_values = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    #[command(flatten)]
    pub(crate) task: TaskArg,

    /// Set the speaker
    #[arg(long, value_parser = role())]
    pub(crate) role: Role,

    /// Set a key, with which a repeated append adds no turn
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) key: Option<MessageKey>,

    /// Set data of your own: a JSON object, or `@FILE` with one in it; kept byte for byte
    #[arg(long, value_name = "JSON", allow_hyphen_values = true, value_parser = MetadataParser)]
    pub(crate) metadata: Option<Metadata>,

    /// The text; if it is `-` or missing, UTF-8 text from standard input, stored unchanged
    pub(crate) text: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) task: ShortIdArg,

    /// Run the command in its folder instead of printing it. Asks before it puts a recording back
    #[arg(long)]
    pub(crate) exec: bool,

    /// Give the session this prompt without a terminal: `claude -p`, `codex exec`, `goose run`
    #[arg(long, short = 'p', value_name = "PROMPT", allow_hyphen_values = true)]
    pub(crate) headless: Option<String>,

    /// Put the recording back first if the agent will not find it, or if the store has more of it
    #[arg(long)]
    pub(crate) restore: bool,

    /// Put it back without a question
    #[arg(long, requires = "exec")]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) relocation: RelocationArgs,

    /// Options of the agent, such as `--model`
    #[arg(last = true, value_name = "AGENT OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) task: ShortIdArg,

    #[command(flatten)]
    pub(crate) relocation: RelocationArgs,

    /// Show the steps without doing any
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Replace files that differ from the store's or have more, and remove second copies
    #[arg(long)]
    pub(crate) force: bool,

    /// Put every kept file back byte for byte, also one that its agent would not read or go on with
    #[arg(long)]
    pub(crate) exact: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The store to copy: a file, or `postgres://…`
    #[arg(long, value_name = "STORE")]
    pub(crate) from: PathBuf,

    /// The destination, which is created if it does not exist
    #[arg(long, value_name = "STORE")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("rule").args(["older_than", "status", "keep_size", "vacuum"]).required(true).multiple(true))]
pub(crate) struct PruneArgs {
    /// Only tasks without a turn or a change of status for this long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = units::age)]
    pub(crate) older_than: Option<Duration>,

    /// Only tasks of this status; may be repeated. By default completed, failed and skipped
    #[arg(long, value_parser = ended())]
    pub(crate) status: Vec<TaskStatus>,

    /// Only until the texts and recordings of the store have at most this size, the least recently active tasks first:
    /// 500MB, 2GiB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) keep_size: Option<u64>,

    /// Show the tasks without deleting them
    #[arg(long, conflicts_with = "vacuum")]
    pub(crate) dry_run: bool,

    /// Delete without asking. Required without a terminal and with `--json`
    #[arg(long, short, conflicts_with = "dry_run")]
    pub(crate) yes: bool,

    /// Then rewrite the file without its free space. Writers wait meanwhile
    #[arg(long)]
    pub(crate) vacuum: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,

    /// The file to create; `./restore` for one of that name
    #[arg(value_name = "FILE", required = true)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Replace the store with a backup, while no program has the store open
    ///
    /// Verifies the whole backup first and does not change it. The old files are kept in a folder beside the
    /// store, `….before-restore`. An interrupted restore can be repeated.
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

/// Parses one of the texts. The help lists them.
fn one_of<T>(texts: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = InvalidValue> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(texts).try_map(|text| text.parse())
}
