//! The pages of a database file.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Conn;

/// Returns the size of the database without its log, and how much of that is free, in bytes.
pub(crate) fn database_space(conn: &mut Conn) -> QueryResult<(i64, Option<i64>)> {
    let size = pragma(conn, "page_size")?;
    let free = pragma(conn, "freelist_count")?;
    Ok((pragma(conn, "page_count")? * size, Some(free * size)))
}

/// Returns the size of a page in bytes.
pub(super) fn page_size(conn: &mut Conn) -> QueryResult<u64> {
    pragma(conn, "page_size").map(i64::unsigned_abs)
}

/// Runs a pragma as a statement. A hostile file may have a view with the name of the function.
pub(super) fn pragma(conn: &mut Conn, name: &str) -> QueryResult<i64> {
    sql::<BigInt>(&format!("PRAGMA {name}")).get_result(conn)
}
