//! Arguments of `task`.

use clap::{Args, Subcommand};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{FailureMode, Metadata, TaskId, TaskStatus};

use super::read::ListArgs;
use super::values::{ShortIdArg, TaskArg, TaskToChangeArg, failure_mode, task_status};
use crate::completion::of_task_ids;
use crate::metadata::MetadataParser;
use crate::units;

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
        task: TaskToChangeArg,
    },
    /// List the tasks that can start: their dependencies are done, and no running task writes their files
    Ready,
    /// Delete a task with its sessions and its conversation, for good
    ///
    /// Other tasks no longer depend on it. Imports leave its sessions out, and warn if an agent goes on with one;
    /// `removed` lists them and lifts that.
    Rm {
        /// The task's whole id
        #[arg(value_name = "TASK", add = of_task_ids())]
        id: TaskId,
        /// Rewrite the file, so that no text of the task is left in it
        #[arg(long)]
        secure: bool,
    },
    /// Set all running tasks pending, after a crash of the only orchestrator
    Requeue,
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

    /// Add a dependency, by its whole id; may be repeated
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
    pub(crate) task: TaskToChangeArg,

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
