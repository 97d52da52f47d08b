//! The rules, by area. Each is a test with its own store that returns an error or panics on a
//! violation. [`suite!`](crate::suite) runs them all.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing rule panics, as any test does"
)]

pub mod claim_filter;
pub mod concurrency;
pub mod contents;
pub mod conversation;
pub mod crash;
pub mod errors;
pub mod follow;
pub mod history;
pub mod import;
pub mod isolation;
pub mod lease;
pub mod model;
pub mod plan;
pub mod processes;
pub mod prune;
pub mod read_only;
pub mod recording;
pub mod retraction;
pub mod session;
pub mod task;
pub mod task_list;
pub mod transaction;
pub mod usage;
pub mod written_files;
