//! The clock of the database.

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, SingleValue};
use turnkeep_model::UtcMicros;

use super::Conn;

/// Returns the time of the database: the machine's, to the millisecond.
pub(crate) fn database_clock(conn: &mut Conn) -> QueryResult<UtcMicros> {
    diesel::select(clock::<BigInt>()).get_result(conn)
}

/// The clock as a part of a query. SQLite reads it at the first row, so after every commit that the query sees.
pub(crate) fn clock<T: SingleValue>() -> SqlLiteral<T> {
    sql("CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000")
}
