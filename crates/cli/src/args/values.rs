//! Arguments and values that several commands take.

use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use turnkeep_repo::{BackendType, FailureMode, InvalidValue, Role, TaskId, TaskStatus};

use crate::completion::of_ids;

/// The task that a command makes. An id that looks like an option must follow `--`, so that a mistyped option does
/// not become a task.
#[derive(Debug, Args)]
pub(crate) struct TaskArg {
    /// The task's whole id
    #[arg(value_name = "TASK")]
    pub(crate) id: TaskId,
}

/// A task that a command shows.
#[derive(Debug, Args)]
pub(crate) struct ShortIdArg {
    /// The id of a task or of its session, or the beginning of one that no other has
    #[arg(value_name = "ID", add = of_ids())]
    pub(crate) id: TaskId,
}

/// A task that a command changes.
#[derive(Debug, Args)]
pub(crate) struct TaskToChangeArg {
    /// The id of a task or of its session; on a terminal also the beginning of one that no other has
    #[arg(value_name = "ID", add = of_ids())]
    pub(crate) id: TaskId,
}

pub(super) fn agent_with_recordings() -> impl TypedValueParser<Value = BackendType> {
    one_of(["claude", "codex", "goose"])
}

pub(super) fn role() -> impl TypedValueParser<Value = Role> {
    one_of(Role::ALL.iter().map(|role| role.as_str()))
}

pub(super) fn task_status() -> impl TypedValueParser<Value = TaskStatus> {
    one_of(TaskStatus::ALL.iter().map(|status| status.as_str()))
}

pub(super) fn ended() -> impl TypedValueParser<Value = TaskStatus> {
    one_of(TaskStatus::ENDED.iter().map(|status| status.as_str()))
}

pub(super) fn failure_mode() -> impl TypedValueParser<Value = FailureMode> {
    one_of(FailureMode::ALL.iter().map(|mode| mode.as_str()))
}

/// Parses one of the texts. The help lists them.
fn one_of<T>(texts: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = InvalidValue> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(texts).try_map(|text| text.parse())
}
