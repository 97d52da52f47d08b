use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use turnkeep_model::UtcMicros;

use super::Conn;

/// Returns the time by the clock of the server, which all that use the store share.
pub(crate) fn database_clock(conn: &mut Conn) -> QueryResult<UtcMicros> {
    let micros = sql::<BigInt>("floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
    diesel::select(micros).get_result(conn)
}
