//! The parts of the schema of a store on a server, and how they differ from what the migrations make.

use diesel::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Text};
use turnkeep_schema::{MIGRATIONS_TABLE, POSTGRES_CATALOGUE, TABLES};

use crate::base::schema_parts::{Bearing, Part, read_parts};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    place: String,
    #[diesel(sql_type = Text)]
    definition: String,
}

/// Reads the parts of the schema that the search path leads to, from the system catalogs alone. Other tables
/// and views of the schema are left out.
pub(super) fn read(conn: &mut PgConnection) -> QueryResult<Vec<Part>> {
    let views = TABLES.map(|table| format!("{table}_readable"));
    let mut names = [&TABLES[..], &[MIGRATIONS_TABLE]].concat();
    names.extend(views.iter().map(String::as_str));
    let query = sql_query(include_str!("catalogue.sql")).bind::<Array<Text>, _>(names);
    let rows: Vec<Row> = query.load(conn)?;
    let parts = rows.into_iter().map(|row| {
        let text = (row.kind, row.name, row.place, row.definition);
        Part::new(text, bearing)
    });
    Ok(parts.collect())
}

/// Returns the parts that the migrations of this program make.
pub(super) fn released() -> Vec<Part> {
    read_parts(POSTGRES_CATALOGUE, bearing)
}

fn bearing(kind: &str, name: &str, definition: &str) -> Bearing {
    match kind {
        "table" | "row security" | "child table" => Bearing::Reads,
        // The library reads no view. A policy matters only if row security is on. The library's types refuse
        // a value before a CHECK does.
        "view" | "policy" => Bearing::Nothing,
        "constraint" if definition.starts_with("CHECK ") => Bearing::Nothing,
        "index" if definition.starts_with("plain ") => Bearing::Nothing,
        // Only the views call this function.
        "function" if name.starts_with("turnkeep_rfc3339(") => Bearing::Nothing,
        _ => Bearing::Writes,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use turnkeep_test_postgres::Server;

    use super::super::ops::migration::run_pending;
    use super::*;
    use crate::base::schema_parts::write_parts;

    /// Renews the file when the migrations have changed, and fails then.
    #[test]
    fn the_catalogue_is_what_the_migrations_make() {
        let database = Server::shared().unwrap().database().unwrap();
        let mut conn = PgConnection::establish(&database.url()).unwrap();
        run_pending(&mut conn).unwrap();
        let text = write_parts(read(&mut conn).unwrap());
        let file = "../schema/src/postgres_catalogue.txt";
        if text != POSTGRES_CATALOGUE {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), text).unwrap();
            panic!("{file} was not up to date, and is now: run the test again");
        }
    }
}
