use diesel::PgConnection;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, SingleValue};
use turnkeep_model::UtcMicros;

/// Returns the time by the clock of the server, which all users of the store share.
pub(crate) fn database_clock(conn: &mut PgConnection) -> QueryResult<UtcMicros> {
    diesel::select(clock::<BigInt>()).get_result(conn)
}

/// The same time as a part of a query. The clock is read for each row, after everything that was committed
/// before the query began.
pub(crate) fn clock<T: SingleValue>() -> SqlLiteral<T> {
    sql("floor(extract(epoch FROM clock_timestamp()) * 1000000::numeric)::bigint")
}
