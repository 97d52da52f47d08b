//! The findings of `check` that only a server can have.

use diesel::PgConnection;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use super::ops;
use super::ops::migration::applied;
use super::schema::owners;
use super::schema_state::read_schema_state;
use crate::base::finding::{Check, SALVAGE, SCHEMA};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::schema_state::{SchemaState, SchemaVersion};

/// Whether an error is about the data. After any other error the transaction can't go on.
fn is_about_data(error: &DieselError) -> bool {
    matches!(error, DieselError::DeserializationError(_))
}

#[derive(QueryableByName)]
struct Orphans {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Checks the owners of the schema and of the store's objects in it. `owner` is trusted in addition to the
/// roles that always are.
pub(crate) fn owner(conn: &mut PgConnection, owner: Option<&str>) -> Result<Check, QueryError> {
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

/// Checks the schema, the database as a whole and all rows, in a transaction that sees one state of them.
pub(super) fn data(conn: &mut PgConnection, call: Operation<'_>) -> Result<Vec<Check>, QueryError> {
    let (mut checks, is_readable) = database(conn)?;
    // Another schema may have other tables, and a damaged table may never end.
    if is_readable {
        checks.extend(ops::check::data(conn, call, is_about_data)?);
    }
    Ok(checks)
}

/// Checks the schema and the foreign keys. Returns also whether the tables can be read.
fn database(conn: &mut PgConnection) -> Result<(Vec<Check>, bool), QueryError> {
    let state = read_schema_state(conn)?;
    let schema = schema(conn, &state)?;
    if state.version != SchemaVersion::Current || !state.is_readable() {
        return Ok((vec![schema], false));
    }
    Ok((vec![schema, foreign_keys(conn)?], true))
}

fn schema(conn: &mut PgConnection, state: &SchemaState) -> Result<Check, QueryError> {
    let newest = match state.version {
        SchemaVersion::Unknown => None,
        _ => applied(conn)?.pop_last(),
    };
    let mut check = Check::new(SCHEMA, newest.unwrap_or_else(|| "none".into()));
    if state.version != SchemaVersion::Current {
        check.find(
            "its migrations are not those of this program",
            "another program has changed it meanwhile; update the older one",
        );
    }
    check.find_differences(&state.differences);
    Ok(check)
}

fn foreign_keys(conn: &mut PgConnection) -> Result<Check, QueryError> {
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
