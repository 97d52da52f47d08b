#![doc = include_str!("../README.md")]

mod homes;
mod import;
mod relocation;

pub use homes::AgentHomes;
pub use import::{
    Evidence, ImportError, ImportEvent, ImportFailure, ImportOptions, ImportWarning,
    ImportedSession, Origin, import,
};
pub use relocation::Relocation;
