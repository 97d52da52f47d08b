//! Compares the schema of a file with the schema that the migrations make.
//!
//! Reads only `sqlite_master`, because no file can replace it by a view. So no SQL that another program put
//! into
//! the file runs before it is known to be the store's own.

use std::collections::BTreeSet;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_query;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_migrations::MigrationHarness;
use turnkeep_schema::{MIGRATIONS_TABLE, SQLITE_CATALOGUE};

use super::Conn;
use super::file::in_memory;
use super::ops::migration::migrations;
use crate::base::schema_parts::{Bearing, Difference, How, Part, compare, read_parts};

/// A row of `sqlite_master`.
#[derive(QueryableByName)]
pub(super) struct Entry {
    #[diesel(sql_type = Text)]
    r#type: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    tbl_name: String,
    /// `None` for the index of a key.
    #[diesel(sql_type = Nullable<Text>)]
    sql: Option<String>,
}

pub(super) fn read(conn: &mut Conn) -> QueryResult<Vec<Entry>> {
    sql_query("SELECT type, name, tbl_name, sql FROM sqlite_master").load(conn)
}

impl Entry {
    /// Whether it is neither SQLite's own nor the list of migrations.
    pub(super) fn is_content(&self) -> bool {
        let is_list = self.tbl_name == MIGRATIONS_TABLE && self.r#type != "trigger";
        !is_list && !self.name.starts_with("sqlite_")
    }

    pub(super) fn is_table(&self) -> bool {
        self.r#type == "table"
    }

    pub(super) fn is_on(&self, table: &str) -> bool {
        self.tbl_name.eq_ignore_ascii_case(table)
    }

    pub(super) fn is_list(&self) -> bool {
        self.r#type == "table" && self.name == MIGRATIONS_TABLE
    }

    fn part(&self) -> Part {
        let sql = self.sql.as_deref().unwrap_or_default();
        Part {
            kind: self.r#type.clone(),
            name: self.name.clone(),
            table: self.tbl_name.clone(),
            definition: sql.to_owned(),
            bearing: bearing(&self.r#type, &self.name, sql),
        }
    }
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

/// Returns how the list of migrations differs from the one that Diesel makes. The list must not be read before.
pub(super) fn differences_of_list(found: &[Entry]) -> Vec<Difference> {
    // Triggers do not matter to a read.
    let of_list = |part: &Part| part.table == MIGRATIONS_TABLE && part.kind != "trigger";
    let expected = released().into_iter().filter(of_list).collect();
    let found = found.iter().map(Entry::part).filter(of_list).collect();
    compare(expected, found)
}

/// Returns a difference if texts are not encoded as UTF-8. SQLite sorts texts by their bytes, and another
/// encoding gives another order.
pub(super) fn differences_of_encoding(conn: &mut Conn) -> QueryResult<Vec<Difference>> {
    let encoding: String = sql::<Text>("PRAGMA encoding").get_result(conn)?;
    if encoding == "UTF-8" {
        return Ok(Vec::new());
    }
    let part = Part {
        kind: "encoding".into(),
        table: encoding.clone(),
        name: encoding,
        definition: String::new(),
        bearing: Bearing::Reads,
    };
    let how = How::Changed;
    Ok(vec![Difference { part, how }])
}

/// Returns how the schema differs from the one that these migrations make. Tables and views of another program,
/// and the indexes on them, are no difference. Its triggers are, on any table: deletes reach other tables
/// through foreign keys.
pub(super) fn differences(
    conn: &mut Conn,
    found: &[Entry],
    applied: &BTreeSet<String>,
) -> QueryResult<Vec<Difference>> {
    let expected = released();
    let quick = compare(expected.clone(), relevant(found, &expected));
    if quick.is_empty() {
        return Ok(quick);
    }
    // The older schema, or the schema of a newer program.
    let expected = migrated(applied)?;
    let mut differences = compare(expected.clone(), relevant(found, &expected));
    let can_ask = differences.iter().all(|it| it.bearing() < Bearing::Reads);
    for Difference { part, how } in &mut differences {
        if can_ask && part.kind == "index" && *how != How::Missing && !is_plain(conn, part)? {
            part.bearing = Bearing::Writes;
        }
    }
    Ok(differences)
}

/// Returns the entries with a name of the store, the entries on its tables, and all triggers.
fn relevant(found: &[Entry], expected: &[Part]) -> Vec<Part> {
    let is_ours = |entry: &&Entry| {
        let is_named = |name: &str| name.eq_ignore_ascii_case(&entry.name);
        let is_on = |table: &str| table.eq_ignore_ascii_case(&entry.tbl_name);
        entry.r#type == "trigger"
            || is_function(&entry.name)
            || expected
                .iter()
                .any(|part| is_named(&part.name) || is_on(&part.table))
    };
    found.iter().filter(is_ours).map(Entry::part).collect()
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
fn released() -> Vec<Part> {
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
    Ok(read(&mut conn)?.iter().map(Entry::part).collect())
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
