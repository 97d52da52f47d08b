//! Arguments of the commands on the session and the conversation of a task: `session`, `recording`, `append`.

use clap::{Args, Subcommand};
use turnkeep_repo::{BackendType, ConfigDir, MessageKey, Metadata, Role, SessionId, WorkingDir};

use super::values::{ShortIdArg, TaskToChangeArg, role};
use crate::metadata::MetadataParser;

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

#[derive(Debug, Args)]
pub(crate) struct SessionSetArgs {
    #[command(flatten)]
    pub(crate) task: TaskToChangeArg,

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
    pub(crate) task: TaskToChangeArg,

    /// The dead session; another one stays bound
    pub(crate) session_id: SessionId,

    /// Set the reason
    #[arg(long, default_value = "retired", allow_hyphen_values = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecordingCommand {
    /// List the kept files of a session; of several with one name the last is the present state
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
    /// Drop the kept files of a session; its conversation stays
    ///
    /// An import keeps a file again once it has changed.
    Rm {
        #[command(flatten)]
        task: TaskToChangeArg,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    #[command(flatten)]
    pub(crate) task: TaskToChangeArg,

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
