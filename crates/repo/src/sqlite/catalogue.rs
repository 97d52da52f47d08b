//! Compares the schema of a file with the schema that the migrations make.
//!
//! Reads only `sqlite_master`, because no file can replace it by a view. So no SQL that another program put
//! into
//! the file runs before it is known to be the store's own.

use std::collections::BTreeSet;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::MigrationHarness;
use turnkeep_schema::{MIGRATIONS_TABLE, SQLITE_CATALOGUE};

use super::Conn;
use super::file::in_memory;
use super::ops::migration::migrations;
use crate::base::schema_parts::{Bearing, Difference, How, Part, compare, read_parts};

/// Reads the parts of the schema. The index of a key has no definition.
pub(super) fn read(conn: &mut Conn) -> QueryResult<Vec<Part>> {
    let rows = sql::<(Text, Text, Text, Text)>(
        "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master",
    )
    .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| Part::new(row, bearing))
        .collect())
}

/// Whether a part is neither SQLite's own nor the list of migrations.
pub(super) fn is_content(part: &Part) -> bool {
    let is_list = part.table == MIGRATIONS_TABLE && part.kind != "trigger";
    !is_list && !part.name.starts_with("sqlite_")
}

fn bearing(kind: &str, name: &str, sql: &str) -> Bearing {
    match kind {
        "trigger" => Bearing::Writes,
        // The library reads none.
        "view" if !is_function(name) => Bearing::Nothing,
        "index" if sql.starts_with("CREATE INDEX ") => Bearing::Nothing,
        "index" => Bearing::Writes,
        _ => Bearing::Reads,
    }
}

/// Whether a table or view of this name would hide a function that a statement of the store calls.
fn is_function(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "json_each" || name.starts_with("pragma_")
}

/// Returns a difference if texts are not encoded as UTF-8. SQLite sorts texts by their bytes, and another
/// encoding gives another order.
pub(super) fn differences_of_encoding(conn: &mut Conn) -> QueryResult<Vec<Difference>> {
    let encoding: String = sql::<Text>("PRAGMA encoding").get_result(conn)?;
    if encoding == "UTF-8" {
        return Ok(Vec::new());
    }
    let text = ("encoding".into(), encoding.clone(), encoding, String::new());
    let part = Part::new(text, bearing);
    let how = How::Changed;
    Ok(vec![Difference { part, how }])
}

/// Returns how the schema differs from the one that these migrations make. Tables and views of another program,
/// and the indexes on them, are no difference. Its triggers are, on any table: deletes reach other tables
/// through foreign keys.
pub(super) fn differences(
    conn: &mut Conn,
    found: &[Part],
    applied: &BTreeSet<String>,
) -> QueryResult<Vec<Difference>> {
    let compare_with = |expected: Vec<Part>| {
        let found = relevant(found, &expected);
        compare(expected, found)
    };
    if compare_with(released()).is_empty() {
        return Ok(Vec::new());
    }
    // The older schema, or the schema of a newer program.
    let mut differences = compare_with(migrated(applied)?);
    let can_ask = differences.iter().all(|it| it.bearing() < Bearing::Reads);
    for Difference { part, how } in &mut differences {
        if can_ask && part.kind == "index" && *how != How::Missing && !is_plain(conn, part)? {
            part.bearing = Bearing::Writes;
        }
    }
    Ok(differences)
}

/// Returns the parts with a name of the store, the parts on its tables, and all triggers.
fn relevant(found: &[Part], expected: &[Part]) -> Vec<Part> {
    let is_ours = |part: &&Part| {
        let is_named = |name: &str| name.eq_ignore_ascii_case(&part.name);
        let is_on = |table: &str| table.eq_ignore_ascii_case(&part.table);
        part.kind == "trigger"
            || is_function(&part.name)
            || expected
                .iter()
                .any(|part| is_named(&part.name) || is_on(&part.table))
    };
    found.iter().filter(is_ours).cloned().collect()
}

/// Whether an index refuses no row and computes nothing.
fn is_plain(conn: &mut Conn, index: &Part) -> QueryResult<bool> {
    sql::<Bool>("SELECT NOT EXISTS (SELECT 1 FROM pragma_index_xinfo(")
        .bind::<Text, _>(&index.name)
        .sql(") WHERE cid = -2) AND NOT EXISTS (SELECT 1 FROM pragma_index_list(")
        .bind::<Text, _>(&index.table)
        .sql(") WHERE (\"unique\" OR partial) AND name = ")
        .bind::<Text, _>(&index.name)
        .sql(")")
        .get_result(conn)
}

/// Returns the parts that all migrations of this program make, without running them.
pub(super) fn released() -> Vec<Part> {
    read_parts(SQLITE_CATALOGUE, bearing)
}

/// Returns the parts that these migrations make, by running them in memory.
fn migrated(applied: &BTreeSet<String>) -> QueryResult<Vec<Part>> {
    let mut conn = in_memory()?;
    let mut run = || -> diesel::migration::Result<()> {
        // Makes the list.
        conn.applied_migrations()?;
        for migration in migrations()? {
            if applied.contains(&migration.name().version().to_string()) {
                conn.run_migration(&migration)?;
            }
        }
        Ok(())
    };
    run().map_err(DieselError::QueryBuilderError)?;
    read(&mut conn)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ops::migration::known;
    use super::*;
    use crate::base::schema_parts::write_parts;

    /// Renews the file when the migrations have changed, and fails then.
    #[test]
    fn the_catalogue_is_what_the_migrations_make() {
        let text = write_parts(migrated(&known()).unwrap());
        let file = "../schema/src/sqlite_catalogue.sql";
        if text != SQLITE_CATALOGUE {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), text).unwrap();
            panic!("{file} was not up to date, and is now: run the test again");
        }
    }
}
