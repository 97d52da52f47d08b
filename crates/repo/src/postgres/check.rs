//! What only a server can tell of the data as a whole.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use super::Conn;
use super::queries::migration::{applied, known};
use super::schema::owners;
use crate::check::{Check, SALVAGE, SCHEMA};
use crate::failure::Failure;

#[derive(QueryableByName)]
struct Orphans {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Looks at who owns the schema and what is in it. `owner` may, besides those that always may.
pub(crate) fn owner(conn: &mut Conn, owner: Option<&str>) -> Result<Check, Failure> {
    let owners = owners(conn, owner)?;
    let schema = owners.first().map(|schema| {
        let object = schema.object();
        format!("{object}, owned by {}", schema.owner)
    });
    let mut check = Check::new("owner", schema.unwrap_or_else(|| "none".into()));
    for owned in owners.iter().filter(|owned| !owned.is_trusted) {
        check.find(
            format!("{} is owned by the role `{}`", owned.object(), owned.owner),
            "name the role if it administers the store (`--owner`), or give it back \
             (ALTER … OWNER TO)",
        );
    }
    Ok(check)
}

/// Looks at the schema, and for rows that the foreign keys should have kept out. Returns also whether the
/// tables are those that this program knows.
pub(crate) fn database(conn: &mut Conn) -> Result<(Vec<Check>, bool), Failure> {
    let schema = schema(conn)?;
    let is_current = schema.findings.is_empty();
    Ok((vec![schema, foreign_keys(conn)?], is_current))
}

fn schema(conn: &mut Conn) -> Result<Check, Failure> {
    let mut applied = applied(conn)?;
    let is_current = applied == known();
    let newest = applied.pop_last();
    let mut check = Check::new(SCHEMA, newest.unwrap_or_else(|| "none".into()));
    if !is_current {
        check.find(
            "its migrations are not those of this program",
            "another program has changed it meanwhile; update the older one",
        );
    }
    Ok(check)
}

fn foreign_keys(conn: &mut Conn) -> Result<Check, Failure> {
    let columns = [
        ("task_dependencies", "task_id"),
        ("task_dependencies", "depends_on"),
        ("sessions", "task_id"),
        ("session_revisions", "task_id"),
        ("conversation_history", "task_id"),
    ];
    let queries = columns.map(|(table, column)| {
        format!(
            "SELECT '{table}.{column}' AS name, count(*) AS rows FROM {table} \
             WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = {table}.{column})"
        )
    });
    let orphans: Vec<Orphans> = sql_query(queries.join(" UNION ALL ")).load(conn)?;
    let mut check = Check::new("foreign keys", "ok");
    for Orphans { name, rows } in orphans.into_iter().filter(|orphans| orphans.rows > 0) {
        check.result = "broken".into();
        check.find(
            format!("{name}: {rows} rows name a task that does not exist"),
            SALVAGE,
        );
    }
    Ok(check)
}
