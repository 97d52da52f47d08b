//! The schema that holds the store.
//!
//! A session is no place to look names up in. A pooler lends it to other clients, whose `SET
//! search_path` and temporary tables stay in it. So the schema is found once, when the store is
//! opened, and every transaction begins by setting `search_path` to it.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Nullable, Text};

use super::OPEN;
use super::connection::{Connection, Setup};
use super::transaction::Transaction;
use crate::call::Deadline;
use crate::error::Error;
use crate::failure::Failure;

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

/// Finds the schema, and has this and all later connections look names up there.
///
/// It is the first one that exists of the search path that the address asks for, else of the one
/// that a new session of the role would have. The path is applied here and not left to libpq's
/// `options`, which some poolers drop without a word.
pub(crate) fn enter(
    connection: &mut Connection,
    setup: &Setup,
    deadline: Deadline,
) -> Result<(), Failure> {
    let name = find(connection, setup.address.search_path(), deadline)?;
    // Schemas of the system, the temporary one among them, begin like this, and no others.
    let Some(name) = name.filter(|name| !name.starts_with("pg_")) else {
        return Err(Failure::Refused(Error::Unsupported {
            operation: OPEN,
            subject: setup.address.to_string(),
            reason: "its search_path names no schema that exists".into(),
        }));
    };
    // Unless pg_temp is named, the temporary tables of the session come first.
    let path = format!("\"{}\", pg_temp", name.replace('"', "\"\""));
    let path = setup.search_path.get_or_init(|| path);
    Ok(connection.set_search_path(path)?)
}

/// Returns the name of the schema. Every name in these statements is qualified, because the search
/// path is not yet known.
fn find(
    connection: &mut Connection,
    asked: Option<&str>,
    deadline: Deadline,
) -> QueryResult<Option<String>> {
    let mut look = Transaction::read(connection, deadline)?;
    let conn = look.link().conn();
    if let Some(path) = asked {
        sql_query("SELECT pg_catalog.set_config('search_path', $1, true)")
            .bind::<Text, _>(path)
            .execute(conn)?;
    }
    let found: Found = sql_query("SELECT pg_catalog.current_schema()::pg_catalog.text AS name")
        .get_result(conn)?;
    Ok(found.name)
}
