use diesel::PgConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use turnkeep_schema::TABLES;

/// Returns the bytes of the tables and their indexes. The number of free bytes among them is not known.
pub(crate) fn database_space(conn: &mut PgConnection) -> QueryResult<(i64, Option<i64>)> {
    let bytes = sql::<BigInt>(
        "(SELECT CAST(sum(pg_total_relation_size(name::regclass)) AS BIGINT) FROM pg_catalog.unnest(",
    )
    .bind::<Array<Text>, _>(&TABLES[..])
    .sql(") AS name)");
    Ok((diesel::select(bytes).get_result(conn)?, None))
}
