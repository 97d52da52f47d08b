//! Notices that another process has migrated an open store to a newer schema.

use std::path::Path;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Integer;

use super::ops::migration::{applied, version};
use super::{Conn, Db};
use crate::base::error::ErrorKind;
use crate::base::query_error::QueryError;
use crate::base::schema_state::SchemaVersion;

/// A fixed text, so that each connection prepares it once.
#[derive(QueryId)]
struct DataVersion;

impl QueryFragment<Db> for DataVersion {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("PRAGMA data_version");
        Ok(())
    }
}

impl Query for DataVersion {
    type SqlType = Integer;
}

impl RunQueryDsl<Conn> for DataVersion {}

/// Returns a number that is another one once another connection has committed.
pub(super) fn data_version(conn: &mut Conn) -> QueryResult<i32> {
    DataVersion.get_result(conn)
}

/// Fails when the schema is newer than this program. The caller holds the write lock, so that no other process
/// migrates before the transaction ends. `seen` keeps, from call to call on one connection, the
/// `data_version` at which the schema was last checked: it changes when another connection has committed.
pub(super) fn refuse_newer(
    conn: &mut Conn,
    path: &Path,
    seen: &mut Option<i32>,
) -> Result<(), QueryError> {
    let data_version = data_version(conn)?;
    if *seen == Some(data_version) {
        return Ok(());
    }
    if let SchemaVersion::Newer(version) = version(&applied(conn)?) {
        let path = path.to_owned();
        return Err(QueryError::Unusable(ErrorKind::SchemaTooNew {
            path,
            version,
        }));
    }
    *seen = Some(data_version);
    Ok(())
}
