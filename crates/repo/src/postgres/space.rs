use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Conn;

/// Returns how many bytes the tables take with their indexes. How many of them are free only the
/// server knows, roughly.
pub(crate) fn database_space(conn: &mut Conn) -> QueryResult<(i64, Option<i64>)> {
    let bytes = sql::<BigInt>(
        "(SELECT CAST(sum(pg_total_relation_size(name::regclass)) AS BIGINT) \
          FROM (VALUES ('tasks'), ('task_dependencies'), ('sessions'), ('session_revisions'), \
            ('conversation_history')) AS relation (name))",
    );
    Ok((diesel::select(bytes).get_result(conn)?, None))
}

/// What was deleted a server uses again by itself.
pub(crate) fn return_space(_: &mut Conn) -> QueryResult<bool> {
    Ok(false)
}
