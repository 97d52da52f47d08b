use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use turnkeep_model::UtcMicros;

use super::Conn;

/// Returns the time by the clock of the database: the machine's, to the millisecond.
pub(crate) fn database_clock(conn: &mut Conn) -> QueryResult<UtcMicros> {
    let micros = sql::<BigInt>("CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000");
    diesel::select(micros).get_result(conn)
}
