//! Reads whether a database is a store, and how its schema differs from the migrations.

use std::collections::BTreeSet;

use diesel::prelude::*;
use turnkeep_schema::{MIGRATIONS_TABLE, SQLITE_APPLICATION_ID};

use super::Conn;
use super::catalogue::{differences, differences_of_encoding, is_content, read, released};
use super::ops::migration::{applied, version};
use super::space::pragma;
use crate::base::schema_parts::differences_of_list;
use crate::base::schema_state::{SchemaState, SchemaVersion};

/// Reads the state of the schema, in several reads: the caller has a transaction open. Changes nothing.
///
/// The file may be hostile. Pragmas are run as statements, because a view could have the name of the function,
/// and no table is read before it is known to be one of the store's.
pub(crate) fn read_schema_state(conn: &mut Conn) -> QueryResult<SchemaState> {
    let application_id = pragma(conn, "application_id")?;
    let user_version = pragma(conn, "user_version")?;
    let parts = read(conn)?;
    let is_ours = application_id == i64::from(SQLITE_APPLICATION_ID);
    let of_list = differences_of_list(released(), &parts);
    let mut tables = parts.iter().filter(|part| part.kind == "table");
    let applied = match tables.any(|table| table.name == MIGRATIONS_TABLE) {
        true if of_list.is_empty() => applied(conn)?,
        true if is_ours => return Ok(SchemaVersion::Unknown.with(of_list)),
        true => return Ok(SchemaVersion::Foreign.with(Vec::new())),
        false => BTreeSet::new(),
    };
    let of_encoding = differences_of_encoding(conn)?;
    let is_untouched = application_id == 0 && user_version == 0;
    if is_untouched && !parts.iter().any(is_content) && applied.is_empty() {
        return Ok(SchemaVersion::Empty.with(of_encoding));
    }
    if !is_ours || applied.is_empty() {
        return Ok(SchemaVersion::Foreign.with(Vec::new()));
    }
    let version = version(&applied);
    let differences = match version {
        SchemaVersion::Newer(_) => Vec::new(),
        _ => [of_encoding, differences(conn, &parts, &applied)?].concat(),
    };
    Ok(version.with(differences))
}
