use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Conn;

/// Returns how many bytes the database takes without its log, and how many of them are free for what
/// is written next.
pub(crate) fn database_space(conn: &mut Conn) -> QueryResult<(i64, Option<i64>)> {
    let (pages, free, size): (i64, i64, i64) = diesel::select((
        sql::<BigInt>("(SELECT page_count FROM pragma_page_count)"),
        sql::<BigInt>("(SELECT freelist_count FROM pragma_freelist_count)"),
        sql::<BigInt>("(SELECT page_size FROM pragma_page_size)"),
    ))
    .get_result(conn)?;
    Ok((pages * size, Some(free * size)))
}
