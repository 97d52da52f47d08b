//! What takes how much room. Sizes are bytes of texts, which no engine has to read for that.
//!
//! Written out, because Diesel's grouping by an expression is no shorter.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use turnkeep_model::{TaskId, TaskStatus, UtcMicros};
use turnkeep_schema::tasks;

use super::{Conn, database_space};
use crate::admin::usage::{MadeOnDay, OfDay, OfStatus};

/// The bytes of the texts of a row of `tasks` and of all that is under it, in a statement or part of
/// one.
macro_rules! with_bytes {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "CAST(octet_length(name) AS BIGINT) + octet_length(prompt) + octet_length(writes_files) \
             + coalesce(octet_length(agent_role), 0) + coalesce(octet_length(result), 0) \
             + coalesce(octet_length(error), 0) \
             + (SELECT CAST(coalesce(sum(coalesce(octet_length(retired_reason), 0)), 0) AS BIGINT) \
                FROM session_revisions WHERE task_id = tasks.id) \
             + (SELECT CAST(coalesce(sum(octet_length(content)), 0) AS BIGINT) \
                FROM conversation_history WHERE task_id = tasks.id)",
            $after
        )
    };
}

pub(crate) use with_bytes;

/// How many turns a row of `tasks` has.
pub(crate) const TURNS: &str =
    "(SELECT coalesce(max(seq), 0) FROM conversation_history WHERE task_id = tasks.id)";

/// A task, when it last changed, and how much it is.
pub(crate) type SizedTask = (TaskId, TaskStatus, UtcMicros, i64, i64);

/// Returns the bytes of all texts.
pub(crate) fn all_bytes(conn: &mut Conn) -> QueryResult<i64> {
    let sum = sql::<BigInt>(with_bytes!("CAST(coalesce(sum(", "), 0) AS BIGINT)"));
    tasks::table.select(sum).get_result(conn)
}

/// Returns the largest tasks, the largest first.
pub(crate) fn largest(conn: &mut Conn, limit: i64) -> QueryResult<Vec<SizedTask>> {
    tasks::table
        .order((sql::<BigInt>(with_bytes!("", " DESC")), tasks::id.asc()))
        .limit(limit)
        .select((
            tasks::id,
            tasks::status,
            tasks::updated_at,
            sql::<BigInt>(TURNS),
            sql::<BigInt>(with_bytes!("", "")),
        ))
        .load(conn)
}

/// Returns the number and bytes of the tasks of each status that there are any of.
pub(crate) fn by_status(conn: &mut Conn) -> QueryResult<Vec<OfStatus>> {
    sql_query(with_bytes!(
        "SELECT status, CAST(count(*) AS BIGINT) AS tasks, CAST(sum(",
        ") AS BIGINT) AS bytes FROM tasks GROUP BY status"
    ))
    .load(conn)
}

/// Returns turns and their bytes by the agent that their task was last bound to, and by the day they
/// are of, in days since year 0.
pub(crate) fn by_backend_and_day(conn: &mut Conn) -> QueryResult<Vec<OfDay>> {
    sql_query(
        "SELECT bound.backend_type, said.day, CAST(sum(said.turns) AS BIGINT) AS turns, \
            CAST(sum(said.bytes) AS BIGINT) AS bytes \
         FROM (\
            SELECT task_id, (\"timestamp\" + 62167219200000000) / 86400000000 AS day, \
                count(*) AS turns, sum(octet_length(content)) AS bytes \
            FROM conversation_history \
            GROUP BY task_id, (\"timestamp\" + 62167219200000000) / 86400000000\
         ) AS said LEFT JOIN session_revisions AS bound \
            ON bound.task_id = said.task_id AND bound.revision = (\
                SELECT max(last.revision) FROM session_revisions AS last \
                WHERE last.task_id = said.task_id) \
         GROUP BY bound.backend_type, said.day",
    )
    .load(conn)
}

/// Returns how many tasks were made on each day, in days since year 0.
pub(crate) fn made_by_day(conn: &mut Conn) -> QueryResult<Vec<MadeOnDay>> {
    sql_query(
        "SELECT (created_at + 62167219200000000) / 86400000000 AS day, \
            CAST(count(*) AS BIGINT) AS tasks \
         FROM tasks GROUP BY (created_at + 62167219200000000) / 86400000000",
    )
    .load(conn)
}

/// Returns the bytes of the database on the disk, and how many of them are free.
pub(crate) fn space(conn: &mut Conn) -> QueryResult<(i64, Option<i64>)> {
    database_space(conn)
}
