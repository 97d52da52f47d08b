//! The types that every layer uses. They know no engine and no SQL.

pub(crate) mod address;
pub(crate) mod appended;
pub(crate) mod checksum;
pub(crate) mod claim_filter;
pub(crate) mod conversation;
pub(crate) mod deadline;
pub(crate) mod error;
pub(crate) mod file_fault;
pub(crate) mod finding;
pub(crate) mod fork_guard;
pub(crate) mod hidden_turns;
pub(crate) mod metadata_filter;
pub(crate) mod operation;
pub(crate) mod options;
pub(crate) mod pool_thread;
pub(crate) mod progress;
pub(crate) mod pruned_task;
pub(crate) mod query_error;
pub(crate) mod schema_parts;
pub(crate) mod schema_state;
pub(crate) mod stats;
pub(crate) mod target;
pub(crate) mod task_list;
pub(crate) mod task_record;
pub(crate) mod trace;
pub(crate) mod usage_rows;
