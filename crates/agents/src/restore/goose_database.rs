//! The rows of a session in the database of Goose. Its versions have different columns.

use std::collections::HashSet;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{QueryableByName, sql_query};

use super::error::RestoreError;

/// The columns of a session with the paths of their values in an export. One that the export does not have keeps its
/// default.
const SESSION: [(&str, &str); 28] = [
    ("name", "$.name"),
    ("description", "$.name"),
    ("user_set_name", "$.user_set_name"),
    ("session_type", "$.session_type"),
    ("working_dir", "$.working_dir"),
    ("created_at", "$.created_at"),
    ("updated_at", "$.updated_at"),
    ("extension_data", "$.extension_data"),
    ("total_tokens", "$.usage.total_tokens"),
    ("input_tokens", "$.usage.input_tokens"),
    ("output_tokens", "$.usage.output_tokens"),
    ("cache_read_tokens", "$.usage.cache_read_input_tokens"),
    ("cache_write_tokens", "$.usage.cache_write_input_tokens"),
    (
        "accumulated_total_tokens",
        "$.accumulated_usage.total_tokens",
    ),
    (
        "accumulated_input_tokens",
        "$.accumulated_usage.input_tokens",
    ),
    (
        "accumulated_output_tokens",
        "$.accumulated_usage.output_tokens",
    ),
    (
        "accumulated_cache_read_tokens",
        "$.accumulated_usage.cache_read_input_tokens",
    ),
    (
        "accumulated_cache_write_tokens",
        "$.accumulated_usage.cache_write_input_tokens",
    ),
    ("accumulated_cost", "$.accumulated_cost"),
    ("schedule_id", "$.schedule_id"),
    ("recipe_json", "$.recipe"),
    ("user_recipe_values_json", "$.user_recipe_values"),
    ("provider_name", "$.provider_name"),
    ("model_config_json", "$.model_config"),
    ("goose_mode", "$.goose_mode"),
    ("archived_at", "$.archived_at"),
    ("project_id", "$.project_id"),
    ("parent_session_id", "$.parent_session_id"),
];

/// The columns of a message with the paths of their values in one of an export.
const MESSAGE: [(&str, &str); 5] = [
    ("message_id", "$.id"),
    ("role", "$.role"),
    ("content_json", "$.content"),
    ("created_timestamp", "$.created"),
    ("metadata_json", "$.metadata"),
];

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Inserts a session with its messages under this id, in one transaction. Goose may be running.
pub(super) fn insert(path: &Path, id: &str, export: &str) -> Result<(), RestoreError> {
    let refused = |source: DieselError| RestoreError::Database {
        path: path.to_owned(),
        source,
    };
    let mut database = open(path).map_err(refused)?;
    let inserted = database.immediate_transaction(|database| {
        let mut names = vec!["id"];
        let mut values = vec!["?2".to_owned()];
        let has = columns(database, "sessions")?;
        for (column, path) in SESSION
            .into_iter()
            .filter(|(column, _)| has.contains(*column))
        {
            let value = match column.ends_with("_at") {
                // As SQLite writes its own times.
                true => format!("datetime(json_extract(?1, '{path}'))"),
                false => format!("json_extract(?1, '{path}')"),
            };
            // NULL would not take the column's default.
            if is_known(database, export, &value)? {
                names.push(column);
                values.push(value);
            }
        }
        let insert = |into: &str, names: &[&str], values: &[String], from: &str| {
            let (names, values) = (names.join(", "), values.join(", "));
            sql_query(format!(
                "INSERT INTO {into} ({names}) SELECT {values} {from}"
            ))
            .bind::<Text, _>(export)
            .bind::<Text, _>(id)
        };
        insert("sessions", &names, &values, "").execute(database)?;
        let mut names = vec!["session_id"];
        let mut values = vec!["?2".to_owned()];
        let has = columns(database, "messages")?;
        for (column, path) in MESSAGE
            .into_iter()
            .filter(|(column, _)| has.contains(*column))
        {
            names.push(column);
            values.push(format!("json_extract(value, '{path}')"));
        }
        let from = "FROM json_each(?1, '$.conversation') ORDER BY key";
        insert("messages", &names, &values, from).execute(database)?;
        Ok(())
    });
    inserted.map_err(refused)
}

fn open(path: &Path) -> QueryResult<SqliteConnection> {
    let url = path.to_str().ok_or(DieselError::NotFound)?;
    let mut database = SqliteConnection::establish(url)
        .map_err(|error| DieselError::QueryBuilderError(error.to_string().into()))?;
    database.batch_execute(
        "PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON",
    )?;
    Ok(database)
}

/// Returns the columns of a table, none for a view.
fn columns(database: &mut SqliteConnection, table: &str) -> QueryResult<HashSet<String>> {
    let columns = sql_query(
        "SELECT info.name AS name FROM pragma_table_xinfo(?1) AS info WHERE hidden = 0
         AND EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 AND type = 'table' AND rootpage > 0)",
    )
    .bind::<Text, _>(table)
    .load::<Name>(database)?;
    Ok(columns.into_iter().map(|column| column.name).collect())
}

/// Whether the export has a value.
fn is_known(database: &mut SqliteConnection, export: &str, value: &str) -> QueryResult<bool> {
    let known = sql_query(format!("SELECT '' AS name WHERE {value} IS NOT NULL"))
        .bind::<Text, _>(export)
        .get_result::<Name>(database)
        .optional()?;
    Ok(known.is_some())
}
