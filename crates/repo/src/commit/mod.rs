//! Group commit: callers that write at the same time share a transaction and its sync. Generic in the
//! engine; contains no SQL.

pub(crate) mod engine;
pub(crate) mod group_commit;
pub(crate) mod job;
pub(crate) mod queue;
pub(crate) mod subscribers;
pub(crate) mod transaction;
pub(crate) mod wakeup;
pub(crate) mod write;
