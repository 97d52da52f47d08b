#![doc = include_str!("../README.md")]

mod homes;
mod hook;
mod import;
mod relocation;

pub use homes::AgentHomes;
pub use hook::{HookError, find_rollout, save_hook_event};
pub use import::{
    Evidence, ImportError, ImportEvent, ImportFailure, ImportOptions, ImportWarning,
    ImportedSession, Origin, import,
};
pub use relocation::Relocation;
