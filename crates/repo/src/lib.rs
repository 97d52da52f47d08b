#![doc = include_str!("../README.md")]
#![cfg_attr(
    feature = "postgres",
    expect(
        clippy::duplicate_mod,
        reason = "the queries are compiled for each engine"
    )
)]

mod append;
#[cfg(feature = "tokio")]
mod async_repo;
mod backup;
mod call;
mod catalogue;
mod check;
mod checksum;
mod copy;
mod engine;
mod error;
mod failure;
mod file_fault;
mod forks;
mod helper;
mod history;
mod job;
mod jsonl;
mod lease;
mod location;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod prune;
mod queue;
mod repo;
mod restore;
mod session;
mod signal;
mod sqlite;
mod stats;
mod store;
mod task;
mod trace;
mod usage;
mod vacuum;
mod verdict;
mod writer;
mod writes;

#[cfg(feature = "tokio")]
pub use async_repo::{AsyncClaimedTask, AsyncRepo};
pub use backup::Backup;
pub use check::{Check, CheckReport, Finding};
pub use chrono;
pub use copy::{CopiedTable, CopyProgress, CopyReport, CopyStage, TableSum, copy};
pub use error::{Error, Result};
pub use file_fault::FileFault;
pub use history::HistoryPage;
pub use jsonl::{JsonlProgress, LineFault};
pub use lease::ClaimedTask;
pub use location::may_be_address;
pub use options::{Durability, RepoBuilder};
pub use prune::{Prune, PruneReport, PrunedTask};
pub use repo::Repo;
pub use restore::Restored;
pub use stats::Stats;
pub use turnkeep_model::{
    BackendName, BackendType, Claim, ConversationTurn, Counter, FailureMode, InvalidValue,
    LeaseLength, MAX_TEXT_BYTES, MessageKey, NewMessage, NewSession, NewTask, ResumeCommand, Role,
    Session, SessionId, SessionRevision, StatusUpdate, Task, TaskId, TaskStatus, WorkerId,
    WorkingDir,
};
pub use usage::{BackendUsage, MonthUsage, StatusUsage, TaskUsage, Usage};

/// What only a fuzzer reaches from outside.
#[cfg(all(fuzzing, feature = "postgres"))]
#[doc(hidden)]
pub mod fuzzing {
    /// Returns all that would be shown of an address, whether it is taken or refused. `None` if it is
    /// the path of a file.
    pub fn shown_address(address: &str) -> Option<String> {
        let path = address.as_ref();
        let shown = match crate::location::is_server(path) {
            true => crate::postgres::shown_address(path),
            false => crate::sqlite::shown_refusal(path)?,
        };
        Some(format!("{shown} {:?}", crate::Repo::builder(path)))
    }
}

/// Compiles and runs the examples of the project's README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
