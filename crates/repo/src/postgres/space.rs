use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Conn;

/// Returns how many bytes the tables take with their indexes. How many of them are free only the
/// server knows, roughly.
pub(crate) fn database_space(conn: &mut Conn) -> QueryResult<(i64, Option<i64>)> {
    let bytes = sql::<BigInt>(
        "CAST(pg_total_relation_size('tasks') + pg_total_relation_size('task_dependencies') \
         + pg_total_relation_size('sessions') + pg_total_relation_size('session_revisions') \
         + pg_total_relation_size('conversation_history') AS BIGINT)",
    );
    Ok((diesel::select(bytes).get_result(conn)?, None))
}

/// What was deleted a server uses again by itself.
pub(crate) fn return_space(_: &mut Conn) -> QueryResult<bool> {
    Ok(false)
}
