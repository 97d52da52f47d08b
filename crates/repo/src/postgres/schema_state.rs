//! Whether a schema is empty, a store of this or another version, or another program's.

use std::collections::BTreeSet;

use diesel::PgConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use turnkeep_schema::MIGRATIONS_TABLE;

use super::catalogue::{read, released};
use super::ops::migration::{applied, known, version};
use crate::base::schema_parts::{compare, differences_of_list};
use crate::base::schema_state::{SchemaState, SchemaVersion};

/// Reads the state of the schema. The transaction of the caller makes the several reads agree. No table is
/// read before it is known to be one of the store's.
pub(crate) fn read_schema_state(conn: &mut PgConnection) -> QueryResult<SchemaState> {
    let found = read(conn)?;
    let of_list = differences_of_list(released(), &found);
    let has_list = found.iter().any(|part| part.name == MIGRATIONS_TABLE);
    let applied = match has_list {
        true if of_list.is_empty() => applied(conn)?,
        true if found.iter().any(|part| part.kind == "function") => {
            return Ok(SchemaVersion::Unknown.with(of_list));
        }
        true => return Ok(SchemaVersion::Foreign.with(Vec::new())),
        false => BTreeSet::new(),
    };
    if applied.is_empty() && !has_relations(conn)? {
        return Ok(SchemaVersion::Empty.with(Vec::new()));
    }
    // Every store has had the first migration.
    if known().first().is_none_or(|first| !applied.contains(first)) {
        return Ok(SchemaVersion::Foreign.with(Vec::new()));
    }
    let version = version(&applied);
    let differences = match version {
        SchemaVersion::Current => compare(released(), found),
        _ => Vec::new(),
    };
    Ok(version.with(differences))
}

/// Whether the schema has a table, view or the like, apart from the relations of extensions and the list of
/// migrations, which the diesel CLI makes first.
fn has_relations(conn: &mut PgConnection) -> QueryResult<bool> {
    let exists = sql::<Bool>(
        "EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
           WHERE nspname = current_schema() AND relkind IN ('r', 'v', 'm', 'f', 'p', 'S') \
             AND NOT (relkind = 'r' AND relname = '__diesel_schema_migrations') \
             AND NOT EXISTS (SELECT FROM pg_depend \
               WHERE classid = 'pg_class'::regclass::oid AND objid = pg_class.oid \
                 AND deptype = 'e'))",
    );
    diesel::select(exists).get_result(conn)
}
