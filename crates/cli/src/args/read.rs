//! Arguments of the commands that find and show: `list`, `search`, `show`, `history`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{BackendType, Role, Seq, TaskId, TaskStatus, WorkingDir};

use super::values::{ShortIdArg, role, task_status};
use crate::completion::of_ids;
use crate::metadata::KeyAndTextParser;
use crate::when;

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

    /// Only those with a turn or a change of status since then: today, yesterday, 12h, 7d, 2026-02-03
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
pub(crate) struct SearchArgs {
    /// Only sessions of this agent
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<BackendType>,

    /// Only sessions in this folder or below it
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) folder: Option<PathBuf>,

    /// Only this task
    #[arg(long, value_name = "TASK", allow_hyphen_values = true, add = of_ids())]
    pub(crate) task: Option<TaskId>,

    /// Only turns of this role
    #[arg(long, value_parser = role())]
    pub(crate) role: Option<Role>,

    /// Only turns since then: today, yesterday, 12h, 7d, 2026-02-03
    #[arg(long, value_name = "WHEN", value_parser = when::since)]
    pub(crate) since: Option<DateTime<Utc>>,

    /// Only turns until then: yesterday, 2026-02-03 (with that day), 12h, 7d
    #[arg(long, value_name = "WHEN", value_parser = when::until)]
    pub(crate) until: Option<DateTime<Utc>>,

    /// Search the tool calls in the kept recordings too, with their results
    #[arg(long, conflicts_with = "role")]
    pub(crate) tools: bool,

    /// Show at most N turns, and with `--tools` at most N calls
    #[arg(long, value_name = "N", default_value = "10", value_parser = value_parser!(u32).range(1..))]
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
