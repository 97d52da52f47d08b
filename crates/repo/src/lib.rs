#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    feature = "postgres",
    expect(
        clippy::duplicate_mod,
        reason = "the queries are compiled for each engine"
    )
)]

mod api;
#[cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "only PostgreSQL has some of the errors")
)]
mod base;
mod commit;
#[cfg(test)]
mod layers;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
mod store;

#[cfg(feature = "tokio")]
pub use api::async_repo::AsyncRepo;
#[doc(hidden)]
pub use api::bulk;
#[cfg(feature = "tokio")]
pub use api::claim::AsyncClaim;
pub use api::claim::Claim;
#[cfg(feature = "tokio")]
pub use api::follow::Follow;
pub use api::history::HistoryPage;
pub use api::recording::RecordingReader;
pub use api::repo::Repo;
pub use api::transaction::{ClaimedInTransaction, Transaction};
pub use base::address::may_be_address;
pub use base::appended::SavedMessage;
pub use base::claim_filter::ClaimFilter;
pub use base::conversation::Conversation;
pub use base::error::{Error, ErrorKind, Result};
pub use base::file_fault::FileFault;
pub use base::finding::{Check, Finding};
pub use base::options::{Durability, RepoBuilder};
pub use base::progress::{BlockedTask, Progress};
pub use base::stats::Stats;
pub use base::task_list::{TaskCursor, TaskOrder, TaskPage, TaskQuery, TaskSummary};
pub use chrono;
pub use sqlite::backup::Backup;
pub use sqlite::restore::Restored;
pub use turnkeep_model::{
    BackendName, BackendType, ConfigDir, ConversationTurn, FailureMode, Fence, HostName,
    ImportedFile, InvalidValue, LeaseLength, MAX_TEXT_BYTES, MessageKey, Metadata, NewMessage,
    NewSession, NewTask, RecordingFile, RecordingName, RecordingNumber, RemovedSession, Revision,
    Role, Seq, Session, SessionId, SessionRevision, StatusUpdate, Task, TaskId, TaskStatus,
    WorkerId, WorkingDir,
};

/// Entry points for the fuzzers.
#[cfg(all(fuzzing, feature = "postgres"))]
#[doc(hidden)]
pub mod fuzzing {
    /// Returns all that would be shown of an address, whether it is taken or refused. `None` if it is
    /// the path of a file.
    pub fn shown_address(address: &str) -> Option<String> {
        let path = address.as_ref();
        let shown = match crate::base::address::is_server(path) {
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
