//! How much room the parts of a store take. No engine reads the texts and recordings for their sizes.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_schema::tasks;

use super::super::space::database_space;
use super::Conn;
use crate::base::usage_rows::UsageRows;

/// The bytes of the texts in a row of `tasks`.
pub(crate) const ROW_BYTES: &str = "CAST(octet_length(name) AS BIGINT) + octet_length(prompt) \
    + octet_length(writes_files) + coalesce(octet_length(agent_role), 0) \
    + coalesce(octet_length(metadata), 0) + coalesce(octet_length(result), 0) + coalesce(octet_length(error), 0)";

/// Returns the bytes of a row of `tasks` and of all that is under it, texts and compressed recordings, as an expression.
/// That a binding was replaced may be stored or not (`with_ends`), and does not count.
pub(crate) fn bytes() -> String {
    format!(
        "{ROW_BYTES} + (SELECT CAST(coalesce(sum(coalesce(octet_length(nullif(retired_reason, 'replaced')), 0) \
                + coalesce(octet_length(metadata), 0)), 0) AS BIGINT) \
            FROM session_revisions WHERE task_id = tasks.id) \
         + (SELECT CAST(coalesce(sum(octet_length(content) + coalesce(octet_length(metadata), 0)), 0) AS BIGINT) \
            FROM conversation_history WHERE task_id = tasks.id) \
         + (SELECT CAST(coalesce(sum(octet_length(data)), 0) AS BIGINT) \
            FROM recording_chunks WHERE task_id = tasks.id)"
    )
}

/// How many turns a row of `tasks` has.
pub(crate) const TURNS: &str =
    "(SELECT coalesce(max(seq), 0) FROM conversation_history WHERE task_id = tasks.id)";

/// Returns the bytes of all texts and recordings.
pub(crate) fn all_bytes(conn: &mut Conn) -> QueryResult<i64> {
    let sum = sql::<BigInt>(&format!("CAST(coalesce(sum({}), 0) AS BIGINT)", bytes()));
    tasks::table.select(sum).get_result(conn)
}

/// Returns how much of the store belongs to which status, agent and day, and its `limit` largest
/// tasks.
pub(crate) fn usage(conn: &mut Conn, limit: i64) -> QueryResult<UsageRows> {
    let bytes = bytes();
    let statuses = sql::<(Text, BigInt, BigInt)>(&format!(
        "SELECT status, count(*), CAST(sum({bytes}) AS BIGINT) FROM tasks GROUP BY status"
    ));
    let backend_days = sql::<(Nullable<Text>, BigInt, BigInt, BigInt)>(
        "SELECT bound.backend_type, said.day, CAST(sum(said.turns) AS BIGINT), \
            CAST(sum(said.bytes) AS BIGINT) \
         FROM (\
            SELECT task_id, (\"timestamp\" + 62167219200000000) / 86400000000 AS day, \
                count(*) AS turns, \
                sum(octet_length(content) + coalesce(octet_length(metadata), 0)) AS bytes \
            FROM conversation_history \
            GROUP BY task_id, (\"timestamp\" + 62167219200000000) / 86400000000\
         ) AS said LEFT JOIN session_revisions AS bound \
            ON bound.task_id = said.task_id AND bound.revision = (\
                SELECT max(last.revision) FROM session_revisions AS last \
                WHERE last.task_id = said.task_id) \
         GROUP BY bound.backend_type, said.day \
         ORDER BY bound.backend_type NULLS FIRST, said.day",
    );
    let made = sql::<(BigInt, BigInt)>(
        "SELECT (created_at + 62167219200000000) / 86400000000, count(*) \
         FROM tasks GROUP BY (created_at + 62167219200000000) / 86400000000",
    );
    let largest = tasks::table
        .order((sql::<BigInt>(&bytes).desc(), tasks::id.asc()))
        .limit(limit)
        .select((
            tasks::id,
            tasks::status,
            tasks::updated_at,
            sql::<BigInt>(TURNS),
            sql::<BigInt>(&bytes),
        ));
    let recordings = sql::<(BigInt, BigInt, BigInt)>(
        "SELECT (SELECT count(*) FROM recordings), CAST(coalesce(sum(length), 0) AS BIGINT), \
            CAST(coalesce(sum(octet_length(data)), 0) AS BIGINT) FROM recording_chunks",
    );
    Ok(UsageRows {
        recordings: recordings.get_result(conn)?,
        statuses: statuses.load(conn)?,
        backend_days: backend_days.load(conn)?,
        made: made.load(conn)?,
        largest: largest.load(conn)?,
        space: database_space(conn)?,
    })
}
