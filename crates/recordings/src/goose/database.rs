use std::collections::HashSet;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use tempfile::TempDir;

use crate::error::Error;
use crate::goose::open;

/// A Goose database, open for reading.
///
/// New versions of Goose add columns, so the queries name only columns that the table has. Text is read as
/// bytes, because one text that is not UTF-8 must not fail the whole query.
pub(crate) struct Database {
    connection: SqliteConnection,
    path: PathBuf,
    /// The copy that the connection reads, if any. Declared last: it must be dropped after the connection.
    _copy: Option<TempDir>,
}

#[derive(QueryableByName)]
pub(super) struct SessionRow {
    #[diesel(sql_type = Binary)]
    pub(super) id: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) working_dir: Option<Vec<u8>>,
}

#[derive(QueryableByName)]
pub(super) struct MessageRow {
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) message_id: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) role: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) content_json: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) metadata_json: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) created: Option<i64>,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Database {
    /// Opens the database at `path`. Returns `None` if it is not one of Goose.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        if !open::is_sqlite(path)? {
            return Ok(None);
        }
        let (connection, copy) = open::open(path)?;
        let mut database = Self {
            connection,
            path: path.to_owned(),
            _copy: copy,
        };
        let is_goose =
            !database.columns("sessions")?.is_empty() && !database.columns("messages")?.is_empty();
        Ok(is_goose.then_some(database))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of a table's columns, none if the table does not exist.
    fn columns(&mut self, table: &str) -> Result<HashSet<String>, Error> {
        let columns = diesel::sql_query("SELECT name FROM pragma_table_info(?)")
            .bind::<Text, _>(table)
            .load::<Name>(&mut self.connection)
            .map_err(Error::database(&self.path))?;
        Ok(columns.into_iter().map(|column| column.name).collect())
    }

    /// Returns all sessions, in order of their ids.
    pub(super) fn sessions(&mut self) -> Result<Vec<SessionRow>, Error> {
        let columns = self.columns("sessions")?;
        let query = format!(
            "SELECT CAST(id AS BLOB) AS id, {} AS working_dir
             FROM sessions WHERE id IS NOT NULL ORDER BY id",
            bytes(&columns, "working_dir"),
        );
        diesel::sql_query(query)
            .load(&mut self.connection)
            .map_err(Error::database(&self.path))
    }

    /// Passes the messages of a session to `visit` one at a time, in Goose's order.
    pub(super) fn for_each_message(
        &mut self,
        session_id: &[u8],
        mut visit: impl FnMut(MessageRow),
    ) -> Result<(), Error> {
        let columns = self.columns("messages")?;
        let created = match columns.contains("created_timestamp") {
            true => "CAST(created_timestamp AS INTEGER)",
            false => "CAST(strftime('%s', \"timestamp\") AS INTEGER)",
        };
        let query = format!(
            "SELECT {message_id} AS message_id, CAST(role AS BLOB) AS role,
                CAST(content_json AS BLOB) AS content_json, {metadata} AS metadata_json,
                {created} AS created
             FROM messages WHERE session_id = CAST(? AS TEXT)
             ORDER BY iif({created} > 10000000000, {created}, {created} * 1000), id",
            message_id = bytes(&columns, "message_id"),
            metadata = bytes(&columns, "metadata_json"),
        );
        let error = Error::database;
        let rows = diesel::sql_query(query)
            .bind::<Binary, _>(session_id)
            .load_iter::<MessageRow, _>(&mut self.connection)
            .map_err(error(&self.path))?;
        for row in rows {
            visit(row.map_err(error(&self.path))?);
        }
        Ok(())
    }
}

/// Selects a column as bytes, or NULL if the table does not have it.
fn bytes(columns: &HashSet<String>, name: &str) -> String {
    match columns.contains(name) {
        true => format!("CAST({name} AS BLOB)"),
        false => "NULL".to_owned(),
    }
}
