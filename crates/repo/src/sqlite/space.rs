//! The pages of a database file.

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Conn;

/// The number of pages that one transaction gives back, small enough for other writers.
const STEP: u32 = 256;

/// Returns the size of the database without its log, and how much of that is free, in bytes.
pub(crate) fn database_space(conn: &mut Conn) -> QueryResult<(i64, Option<i64>)> {
    let size = pragma(conn, "page_size")?;
    let free = pragma(conn, "freelist_count")?;
    Ok((page_count(conn)? * size, Some(free * size)))
}

/// Gives some free pages back to the file system. Returns whether more can be given back. A file without a map
/// of its pages keeps them.
pub(crate) fn return_space(conn: &mut Conn) -> QueryResult<bool> {
    let before = pragma(conn, "freelist_count")?;
    conn.batch_execute(&format!("PRAGMA incremental_vacuum({STEP})"))?;
    let after = pragma(conn, "freelist_count")?;
    Ok(0 < after && after < before)
}

/// Returns the number of pages, 0 before the first write.
pub(super) fn page_count(conn: &mut Conn) -> QueryResult<i64> {
    pragma(conn, "page_count")
}

/// Returns the size of a page in bytes.
pub(super) fn page_size(conn: &mut Conn) -> QueryResult<u64> {
    pragma(conn, "page_size").map(i64::unsigned_abs)
}

/// Runs a pragma as a statement. A hostile file may have a view with the name of the function.
pub(super) fn pragma(conn: &mut Conn, name: &str) -> QueryResult<i64> {
    sql::<BigInt>(&format!("PRAGMA {name}")).get_result(conn)
}
