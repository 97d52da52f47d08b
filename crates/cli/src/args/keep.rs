//! Arguments of the commands that keep sessions: `import`, `hook`, `watch`, `export`, `removed`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use turnkeep_repo::{BackendType, TaskId};

use super::values::agent_with_recordings;
use crate::cmd::HookAgent;
use crate::units;

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

    /// Files, or folders to search instead of the homes of the agents; `-` is standard input, for an export
    #[arg(value_name = "PATH")]
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

    /// Show the tool calls of the kept recordings in the pages
    #[arg(long, requires = "html")]
    pub(crate) tools: bool,

    /// Replace home folders, e-mail addresses, and what looks like a key or a password in the pages
    ///
    /// Pages of tasks whose ids have such data are numbered. A folder that has other pages, for instance of an export
    /// without it, is refused.
    #[arg(long, requires = "html")]
    pub(crate) redact: bool,

    /// The file to create; standard output if it is `-` or missing
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Jsonl,
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
        /// The id of the task or of its session; on a terminal also the beginning of one that no other has
        #[arg(value_name = "ID")]
        id: TaskId,
    },
}
