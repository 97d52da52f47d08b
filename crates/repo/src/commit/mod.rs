//! Group commit: callers that write at the same time share a transaction. Contains no SQL.

pub(crate) mod engine;
pub(crate) mod group_commit;
pub(crate) mod job;
pub(crate) mod queue;
pub(crate) mod wakeup;
