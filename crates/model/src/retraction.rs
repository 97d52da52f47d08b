use chrono::{DateTime, Utc};
use diesel::prelude::*;
use turnkeep_schema::history_retractions;

use crate::{Seq, TaskId, UtcMicros};

/// Turns of a task that were hidden. Never changes, and is deleted only with its task.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[diesel(table_name = history_retractions, treat_none_as_default_value = false)]
#[non_exhaustive]
pub struct Retraction {
    /// The task.
    pub task_id: TaskId,
    /// 1 for the task's first retraction, then 2, 3, … without gaps.
    pub number: i64,
    /// The seq of the turn before the first hidden one, or 0.
    pub after_seq: i64,
    /// The seq of the last hidden turn, which was the last one of the task.
    pub through_seq: Seq,
    /// When they were hidden, UTC.
    #[diesel(deserialize_as = UtcMicros, serialize_as = UtcMicros)]
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_support::micros"))]
    pub hidden_at: DateTime<Utc>,
}
