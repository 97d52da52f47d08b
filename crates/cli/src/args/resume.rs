//! Arguments of the commands that go on with a session: `resume`, `restore`.

use clap::Args;

use super::values::{ShortIdArg, TaskToChangeArg};
use crate::relocation::RelocationArgs;

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
    pub(crate) task: TaskToChangeArg,

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
