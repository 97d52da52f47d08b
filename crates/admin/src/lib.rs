#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod check;
mod conflict;
mod copy;
mod error;
mod jsonl;
mod order;
mod prune;
mod read;
mod recordings;
mod removals;
mod remove;
mod usage;

pub use check::{CheckReport, check, check_unopened};
pub use copy::{CopiedTable, CopyProgress, CopyStage, copy};
pub use error::{Error, Result};
pub use jsonl::{JsonlProgress, export_jsonl, import_jsonl};
pub use prune::{Prune, PruneReport, prune, prune_planned};
pub use remove::remove_unchanged;
pub use turnkeep_repo::bulk::PrunedTask;
pub use turnkeep_repo::{Check, Finding};
pub use usage::{BackendUsage, MonthUsage, RecordingUsage, StatusUsage, TaskUsage, Usage, usage};
