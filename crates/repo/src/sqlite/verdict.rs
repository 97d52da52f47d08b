//! What a file is to this program.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer};
use turnkeep_schema::SQLITE_APPLICATION_ID;

use super::Conn;
use super::queries::migration::{applied, verdict};
use crate::verdict::Verdict;

#[derive(QueryableByName)]
struct Header {
    #[diesel(sql_type = Integer)]
    application_id: i32,
    #[diesel(sql_type = Integer)]
    user_version: i32,
    /// Tables, views and the like, but for SQLite's own and the list of migrations, which the
    /// diesel CLI makes before any of them.
    #[diesel(sql_type = BigInt)]
    entries: i64,
    #[diesel(sql_type = BigInt)]
    lists: i64,
}

/// Reads what the database is, changing nothing. To be called inside a transaction: the answer is
/// put together from several reads.
pub(crate) fn judge(conn: &mut Conn) -> QueryResult<Verdict> {
    let header: Header = sql_query(
        "SELECT application_id, user_version, \
           (SELECT count(*) FROM sqlite_master \
            WHERE tbl_name <> '__diesel_schema_migrations' \
              AND substr(name, 1, 7) <> 'sqlite_') AS entries, \
           (SELECT count(*) FROM sqlite_master \
            WHERE type = 'table' AND name = '__diesel_schema_migrations') AS lists \
         FROM pragma_application_id, pragma_user_version",
    )
    .get_result(conn)?;
    let applied = match header.lists {
        0 => BTreeSet::new(),
        _ => applied(conn)?,
    };
    let is_untouched = header.application_id == 0 && header.user_version == 0;
    if is_untouched && header.entries == 0 && applied.is_empty() {
        return Ok(Verdict::Empty);
    }
    if header.application_id != SQLITE_APPLICATION_ID || applied.is_empty() {
        return Ok(Verdict::Foreign);
    }
    Ok(verdict(&applied))
}
