//! The parts of the schema of a store on a server, and how they differ from those that the migrations make.

use std::collections::BTreeSet;

use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Text};
use turnkeep_schema::POSTGRES_CATALOGUE;

use super::{Conn, Db, MIGRATIONS};
use crate::base::schema_parts::{Bearing, Difference, Part, compare, read_parts};

/// The list of the migrations that a schema has had.
const LIST: &str = "__diesel_schema_migrations";

/// The tables and views of the store. Others of the same schema are not looked at.
const OURS: [&str; 11] = [
    LIST,
    "tasks",
    "task_dependencies",
    "sessions",
    "session_revisions",
    "conversation_history",
    "tasks_readable",
    "task_dependencies_readable",
    "sessions_readable",
    "session_revisions_readable",
    "conversation_history_readable",
];

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

/// Reads the parts of the schema that the search path leads to, from the system's catalogues alone.
pub(super) fn read(conn: &mut Conn) -> QueryResult<Vec<Part>> {
    let query = sql_query(include_str!("catalogue.sql")).bind::<Array<Text>, _>(&OURS[..]);
    let rows: Vec<Row> = query.load(conn)?;
    let part = |row: Row| Part {
        bearing: bearing(&row.kind, &row.name, &row.definition),
        kind: row.kind,
        name: row.name,
        table: row.place,
        definition: row.definition,
    };
    Ok(rows.into_iter().map(part).collect())
}

/// Returns how the list of migrations differs from the one that Diesel makes. It must not be read before
/// it is known to be that one.
pub(super) fn differences_of_list(found: &[Part]) -> Vec<Difference> {
    let of_list = |part: &Part| part.table == LIST && part.bearing == Bearing::Reads;
    let expected = released().into_iter().filter(of_list).collect();
    compare(
        expected,
        found.iter().filter(|it| of_list(it)).cloned().collect(),
    )
}

/// Returns how the parts differ from what the migrations make. Empty for other migrations than those
/// released with this program, whose schema is not known here.
pub(super) fn differences(found: Vec<Part>, applied: &BTreeSet<String>) -> Vec<Difference> {
    let migrations = MigrationSource::<Db>::migrations(&MIGRATIONS).unwrap_or_default();
    let mut names = migrations.iter().map(|it| it.name().version().to_string());
    match applied.len() == migrations.len() && names.all(|name| applied.contains(&name)) {
        true => compare(released(), found),
        false => Vec::new(),
    }
}

/// Returns the parts that all migrations of this program make, without running them.
fn released() -> Vec<Part> {
    read_parts(POSTGRES_CATALOGUE, bearing)
}

fn bearing(kind: &str, name: &str, definition: &str) -> Bearing {
    match kind {
        "table" | "row security" | "child table" => Bearing::Reads,
        // The library reads no view. A policy counts where row security is on. A value that a CHECK
        // refuses is refused by the library's own types first.
        "view" | "policy" => Bearing::Nothing,
        "constraint" if definition.starts_with("CHECK ") => Bearing::Nothing,
        "index" if definition.starts_with("plain ") => Bearing::Nothing,
        // Only views call it.
        "function" if name.starts_with("turnkeep_rfc3339(") => Bearing::Nothing,
        _ => Bearing::Writes,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use turnkeep_test_postgres::Server;

    use super::super::queries::migration::run_pending;
    use super::*;
    use crate::base::schema_parts::write_parts;

    /// Renews the file when the migrations have changed, and fails then.
    #[test]
    fn the_catalogue_is_what_the_migrations_make() {
        let database = Server::shared().unwrap().database().unwrap();
        let mut conn = Conn::establish(&database.url()).unwrap();
        run_pending(&mut conn).unwrap();
        let text = write_parts(read(&mut conn).unwrap());
        let file = "../schema/src/postgres_catalogue.txt";
        if text != POSTGRES_CATALOGUE {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), text).unwrap();
            panic!("{file} was not up to date, and is now: run the test again");
        }
    }
}
