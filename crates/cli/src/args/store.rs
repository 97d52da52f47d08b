//! Arguments of the commands on the whole store: `copy`, `stats`, `rm`, `prune`, `backup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{BackendType, TaskId, TaskStatus};

use super::values::ended;
use crate::completion::of_ids;
use crate::units;
use crate::when;

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
pub(crate) struct StatsArgs {
    /// Show the tokens that the agents have recorded instead, by month, model and folder
    ///
    /// Reads all kept files, some seconds per GB. Each answer is counted once, with the tokens that its agent has
    /// counted.
    #[arg(long)]
    pub(crate) tokens: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("rule").args(["ids", "folder", "agent", "older_than", "until"]).required(true).multiple(true))]
pub(crate) struct RmArgs {
    /// The ids of tasks or sessions; without `--yes` also their beginnings
    #[arg(value_name = "ID", conflicts_with_all = ["folder", "agent", "older_than", "until"], add = of_ids())]
    pub(crate) ids: Vec<TaskId>,

    /// Only sessions in this folder or below it
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) folder: Option<PathBuf>,

    /// Only sessions of this agent
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<BackendType>,

    /// Only those without a turn or a change of status for this long: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = when::before, conflicts_with = "until")]
    pub(crate) older_than: Option<DateTime<Utc>>,

    /// Only those last active until then: yesterday, 2026-02-03 (with that day), 12h, 7d
    #[arg(long, value_name = "WHEN", value_parser = when::until)]
    pub(crate) until: Option<DateTime<Utc>>,

    /// Rewrite the file, so that no text of them is left in it
    #[arg(long)]
    pub(crate) secure: bool,

    /// Remove without asking. Required without a terminal and with `--json`
    #[arg(long, short)]
    pub(crate) yes: bool,
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
