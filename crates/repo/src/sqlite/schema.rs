//! Notices that another process has migrated an open store to a newer schema.

use std::path::Path;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer};

use super::queries::migration::{applied, verdict};
use super::{Conn, Db};
use crate::base::query_error::{NewerSchema, QueryError};
use crate::base::schema_state::Verdict;

/// Declares a query of one number whose text never changes, so that each connection prepares it once.
macro_rules! number {
    ($name:ident, $sql_type:ty, $sql:literal) => {
        #[derive(QueryId)]
        struct $name;

        impl QueryFragment<Db> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
                out.push_sql($sql);
                Ok(())
            }
        }

        impl Query for $name {
            type SqlType = $sql_type;
        }

        impl RunQueryDsl<Conn> for $name {}
    };
}

number!(DataVersion, Integer, "PRAGMA data_version");
number!(
    Applied,
    BigInt,
    "SELECT count(*) FROM __diesel_schema_migrations"
);

/// The state of the database in which the schema was last looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Changes when another connection has committed, and costs less to read than the migrations.
    data_version: i32,
    /// How many migrations there were.
    applied: i64,
}

/// Fails when the schema is newer than this program. To be called with the write lock held, so that no other
/// process migrates before the transaction ends. `seen` keeps the state between calls on one connection.
pub(super) fn refuse_newer(
    conn: &mut Conn,
    path: &Path,
    seen: &mut Option<Seen>,
) -> Result<(), QueryError> {
    let data_version = DataVersion.get_result(conn)?;
    if seen.is_some_and(|seen| seen.data_version == data_version) {
        return Ok(());
    }
    let count = Applied.get_result(conn)?;
    if seen.is_none_or(|seen| seen.applied != count)
        && let Verdict::Newer(version) = verdict(&applied(conn)?)
    {
        let path = path.to_owned();
        return Err(NewerSchema { path, version }.into());
    }
    *seen = Some(Seen {
        data_version,
        applied: count,
    });
    Ok(())
}
