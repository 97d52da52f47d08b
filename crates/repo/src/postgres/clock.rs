use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, SingleValue};
use turnkeep_model::UtcMicros;

use super::Conn;

/// Returns the time by the clock of the server, which all that use the store share.
pub(crate) fn database_clock(conn: &mut Conn) -> QueryResult<UtcMicros> {
    diesel::select(clock::<BigInt>()).get_result(conn)
}

/// The same as a part of a query. It is asked when a row is looked at, so after all that was committed
/// before the query began.
pub(crate) fn clock<T: SingleValue>() -> SqlLiteral<T> {
    sql("floor(extract(epoch FROM clock_timestamp()) * 1000000::numeric)::bigint")
}
