use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Conn;

/// How many pages are given back in one transaction: few enough for others who write.
const STEP: u32 = 256;

const PAGES: &str = "(SELECT page_count FROM pragma_page_count)";
const FREE_PAGES: &str = "(SELECT freelist_count FROM pragma_freelist_count)";
const PAGE_SIZE: &str = "(SELECT page_size FROM pragma_page_size)";

/// Returns how many bytes the database takes without its log, and how many of them are free for what
/// is written next.
pub(crate) fn database_space(conn: &mut Conn) -> QueryResult<(i64, Option<i64>)> {
    let (pages, free, size): (i64, i64, i64) = diesel::select((
        sql::<BigInt>(PAGES),
        sql::<BigInt>(FREE_PAGES),
        sql::<BigInt>(PAGE_SIZE),
    ))
    .get_result(conn)?;
    Ok((pages * size, Some(free * size)))
}

/// Gives some of the free pages back to the file system, and returns whether there are more that can
/// be. A file that has no map of its pages keeps them.
pub(crate) fn return_space(conn: &mut Conn) -> QueryResult<bool> {
    let before = free_pages(conn)?;
    conn.batch_execute(&format!("PRAGMA incremental_vacuum({STEP})"))?;
    let after = free_pages(conn)?;
    Ok(0 < after && after < before)
}

/// Returns how many pages the database has, 0 before anything was written to it.
pub(super) fn page_count(conn: &mut Conn) -> QueryResult<i64> {
    // As a statement: a file that was not checked yet may have a view with the name of the function.
    sql::<BigInt>("PRAGMA page_count").get_result(conn)
}

/// Returns how many bytes a page has.
pub(super) fn page_size(conn: &mut Conn) -> QueryResult<u64> {
    let size: i64 = sql::<BigInt>("PRAGMA page_size").get_result(conn)?;
    Ok(size.unsigned_abs())
}

fn free_pages(conn: &mut Conn) -> QueryResult<i64> {
    diesel::select(sql::<BigInt>(FREE_PAGES)).get_result(conn)
}
