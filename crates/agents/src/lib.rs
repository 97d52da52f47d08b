#![doc = include_str!("../README.md")]

mod command;
mod home_check;
mod homes;
mod hook;
mod import;
mod kept;
mod layout;
mod plan;
mod relocation;
mod restore;
mod tokens;
mod watch;

pub use command::ResumeCommand;
pub use home_check::{HomeCheck, HomeCheckError, check_homes};
pub use homes::AgentHomes;
pub use hook::{HookError, find_rollout, save_hook_event};
pub use import::{
    Evidence, ImportError, ImportEvent, ImportFailure, ImportOptions, ImportWarning,
    ImportedSession, KeepError, KnownFiles, Origin, SkippedSession, import,
};
pub use plan::{Note, RecordingState, Refusal, RestoreSource, ResumePlan, resume_plan};
pub use relocation::Relocation;
pub use restore::{RestoreAction, RestoreError, RestoreOptions, RestoreStep, Restored, restore};
pub use tokens::{TokenUsage, token_usage};
pub use watch::{WatchEvent, WatchOptions, WatchStop, watch};
