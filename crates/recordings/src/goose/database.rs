use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use tempfile::TempDir;

use crate::error::Error;
use crate::goose::open;

/// The number of messages that one query reads.
const BATCH: usize = 256;

/// The longest value that is read, in bytes.
const MAX_VALUE: u64 = 256 * 1024 * 1024;

/// A Goose database, open for reading.
///
/// New versions of Goose add columns, so the queries name only columns that the table has. Text is read as
/// bytes, because one text that is not UTF-8 must not fail the whole query.
///
/// Another program may have written the file. So the queries read real tables only, row by row and without
/// sorting them, and stop when there are more rows than bytes.
pub(crate) struct Database {
    connection: SqliteConnection,
    path: PathBuf,
    session_columns: HashSet<String>,
    message_columns: HashSet<String>,
    /// The size of the file, and so the limit of rows.
    size: u64,
    /// The copy that the connection reads, if any. Declared last: it must be dropped after the connection.
    _copy: Option<TempDir>,
}

#[derive(QueryableByName)]
pub(super) struct SessionRow {
    /// `None` if it is not a text.
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) id: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) name: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) description: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) working_dir: Option<Vec<u8>>,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = Nullable<Binary>)]
    id: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Field {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Binary>)]
    value: Option<Vec<u8>>,
}

/// The values of a row by their columns, numbers as text. NULL is left out.
pub(super) type Fields = HashMap<String, Vec<u8>>;

/// The place of a message in its session: its time in milliseconds, then its number.
type Place = (Option<i64>, i64);

/// The messages of each session.
pub(super) type Index = HashMap<Vec<u8>, Vec<Place>>;

#[derive(QueryableByName)]
struct IndexRow {
    #[diesel(sql_type = Nullable<Binary>)]
    session_id: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    created: Option<i64>,
    #[diesel(sql_type = BigInt)]
    number: i64,
    /// The bytes of the texts, as the row claims.
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

#[derive(QueryableByName)]
pub(super) struct MessageRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
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
struct Table {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    is_real: bool,
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    /// Above 1 for a generated column.
    #[diesel(sql_type = Integer)]
    hidden: i32,
}

impl Database {
    /// Opens the database at `path`. Returns `None` if it is not one of Goose.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        if !open::is_sqlite(path)? {
            return Ok(None);
        }
        let opened = open::open(path)?;
        let mut database = Self {
            connection: opened.connection,
            path: path.to_owned(),
            session_columns: HashSet::new(),
            message_columns: HashSet::new(),
            size: opened.size,
            _copy: opened.copy,
        };
        let (Some(sessions), Some(messages)) =
            (database.columns("sessions")?, database.columns("messages")?)
        else {
            return Ok(None);
        };
        database.session_columns = sessions;
        database.message_columns = messages;
        Ok(Some(database))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of a table's columns, `None` if the table does not exist.
    fn columns(&mut self, table: &str) -> Result<Option<HashSet<String>>, Error> {
        let error = Error::database;
        // A virtual table has no root page.
        let real = "SELECT type = 'table' AND rootpage > 0 AS is_real FROM sqlite_schema
            WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')";
        let found = sql_query(real)
            .bind::<Text, _>(table)
            .get_result::<Table>(&mut self.connection)
            .optional()
            .map_err(error(&self.path))?;
        let Some(found) = found else {
            return Ok(None);
        };
        let columns = sql_query("SELECT name, hidden FROM pragma_table_xinfo(?)")
            .bind::<Text, _>(table)
            .load::<Column>(&mut self.connection)
            .map_err(error(&self.path))?;
        // A column could take the name of the number that SQLite gives each row.
        let is_foreign =
            |column: &Column| column.hidden > 1 || column.name.eq_ignore_ascii_case("rowid");
        if !found.is_real || columns.iter().any(is_foreign) {
            let path = self.path.clone();
            return Err(Error::NoTables { path });
        }
        Ok(Some(
            columns.into_iter().map(|column| column.name).collect(),
        ))
    }

    /// Returns the sessions, in order of their ids. Of several with one id the first. `Err` has the number of
    /// sessions whose id is not a text.
    pub(super) fn sessions(&mut self) -> Result<(Vec<SessionRow>, usize), Error> {
        let columns = &self.session_columns;
        let query = format!(
            "SELECT {id} AS id, {name} AS name, {description} AS description,
                {working_dir} AS working_dir
             FROM sessions",
            id = self.bytes(columns, "id"),
            name = self.bytes(columns, "name"),
            description = self.bytes(columns, "description"),
            working_dir = self.bytes(columns, "working_dir"),
        );
        let mut sessions = BTreeMap::new();
        let mut invalid = 0;
        let query = sql_query(query).into_boxed();
        self.for_each_row(query, |row: SessionRow| {
            let values = [&row.id, &row.name, &row.description, &row.working_dir];
            let length = values.into_iter().map(length).sum();
            match row.id.clone() {
                Some(id) => {
                    sessions.entry(id).or_insert(row);
                }
                None => invalid += 1,
            }
            length
        })?;
        Ok((sessions.into_values().collect(), invalid))
    }

    /// Returns the row of each session. Of several with one id the first.
    pub(super) fn session_numbers(&mut self) -> Result<HashMap<Vec<u8>, i64>, Error> {
        let id = self.bytes(&self.session_columns, "id");
        let query = sql_query(format!("SELECT {id} AS id, rowid AS number FROM sessions"));
        let mut numbers = HashMap::new();
        self.for_each_row(query.into_boxed(), |row: NumberRow| {
            let length = length(&row.id);
            if let Some(id) = row.id {
                numbers.entry(id).or_insert(row.number);
            }
            length
        })?;
        Ok(numbers)
    }

    /// Returns the values that a session has in these columns.
    pub(super) fn session(&mut self, number: i64, columns: &[&str]) -> Result<Fields, Error> {
        let longest = self.size.min(MAX_VALUE);
        let known = columns
            .iter()
            .filter(|it| self.session_columns.contains(**it));
        let fields = known.map(|column| {
            format!(
                "SELECT '{column}' AS name, iif(typeof({column}) IN ('text', 'integer', 'real')
                    AND octet_length({column}) <= {longest},
                    CAST(CAST({column} AS TEXT) AS BLOB), NULL) AS value
                 FROM sessions WHERE rowid = {number}"
            )
        });
        let fields: Vec<_> = fields.collect();
        let mut values = Fields::new();
        if fields.is_empty() {
            return Ok(values);
        }
        let query = sql_query(fields.join(" UNION ALL "));
        self.for_each_row(query.into_boxed(), |field: Field| {
            let length = length(&field.value);
            values.extend(Some(field.name).zip(field.value));
            length
        })?;
        Ok(values)
    }

    /// Returns where the messages of each session are, in Goose's order.
    pub(super) fn index(&mut self) -> Result<Index, Error> {
        let query = format!(
            "SELECT {session_id} AS session_id, {created} AS created, rowid AS number,
                {lengths} AS bytes
             FROM messages",
            session_id = self.bytes(&self.message_columns, "session_id"),
            created = self.created(),
            lengths = self.lengths(),
        );
        let mut index = Index::new();
        let query = sql_query(query).into_boxed();
        self.for_each_row(query, |row: IndexRow| {
            let millis = |time: i64| match time > 10_000_000_000 {
                true => time,
                false => time.saturating_mul(1000),
            };
            let length = length(&row.session_id) + u64::try_from(row.bytes).unwrap_or_default();
            if let Some(session) = row.session_id {
                let places = index.entry(session).or_default();
                places.push((row.created.map(millis), row.number));
            }
            length
        })?;
        index.values_mut().for_each(|places| places.sort_unstable());
        Ok(index)
    }

    /// Makes an item of each message, in order of the places.
    pub(super) fn messages<T>(
        &mut self,
        places: &[Place],
        mut item: impl FnMut(MessageRow) -> T,
    ) -> Result<Vec<T>, Error> {
        let columns = &self.message_columns;
        let select = format!(
            "SELECT rowid AS number, {message_id} AS message_id, {role} AS role,
                {content} AS content_json, {metadata} AS metadata_json, {created} AS created
             FROM messages WHERE rowid IN (SELECT value FROM json_each(?))",
            message_id = self.bytes(columns, "message_id"),
            role = self.bytes(columns, "role"),
            content = self.bytes(columns, "content_json"),
            metadata = self.bytes(columns, "metadata_json"),
            created = self.created(),
        );
        let mut items = Vec::with_capacity(places.len());
        for batch in places.chunks(BATCH) {
            let numbers: Vec<_> = batch.iter().map(|(_, number)| number.to_string()).collect();
            let query = sql_query(&select).into_boxed();
            let query = query.bind::<Text, _>(format!("[{}]", numbers.join(",")));
            let mut rows = HashMap::new();
            self.for_each_row(query, |row: MessageRow| {
                rows.insert(row.number, item(row));
                // The index has counted them.
                0
            })?;
            items.extend(batch.iter().filter_map(|(_, number)| rows.remove(number)));
        }
        Ok(items)
    }

    /// Passes the rows of a query to `visit` one at a time, which returns the bytes in a row. Rows of a
    /// damaged file may share their bytes, so they may have more than the file.
    fn for_each_row<T>(
        &mut self,
        query: BoxedSqlQuery<'_, Sqlite, SqlQuery>,
        mut visit: impl FnMut(T) -> u64,
    ) -> Result<(), Error>
    where
        T: QueryableByName<Sqlite> + 'static,
    {
        let error = Error::database;
        let rows = query
            .load_iter::<T, _>(&mut self.connection)
            .map_err(error(&self.path))?;
        // Goose may write meanwhile.
        let most = self.size.saturating_mul(2).saturating_add(1024 * 1024);
        let mut bytes: u64 = 0;
        for (row, number) in rows.zip(0..) {
            let length = visit(row.map_err(error(&self.path))?);
            bytes = bytes.saturating_add(length);
            if number > self.size || bytes > most {
                let path = self.path.clone();
                return Err(Error::TooLarge { path });
            }
        }
        Ok(())
    }

    /// Selects the time of a message.
    fn created(&self) -> &'static str {
        match self.message_columns.contains("created_timestamp") {
            true => "CAST(created_timestamp AS INTEGER)",
            false => "CAST(strftime('%s', \"timestamp\") AS INTEGER)",
        }
    }

    /// Selects the length of what a message has beside its session. The rows are not read for it.
    fn lengths(&self) -> String {
        let columns = ["message_id", "role", "content_json", "metadata_json"];
        let columns = columns
            .iter()
            .filter(|it| self.message_columns.contains(**it));
        let lengths = columns.map(|column| format!("ifnull(octet_length({column}), 0)"));
        lengths.fold("0".to_owned(), |sum, length| format!("{sum} + {length}"))
    }

    /// Selects a text as bytes. NULL if the table does not have the column, or the value is of another type
    /// or claims to be longer than the file.
    fn bytes(&self, columns: &HashSet<String>, name: &str) -> String {
        if !columns.contains(name) {
            return "NULL".to_owned();
        }
        let longest = self.size.min(MAX_VALUE);
        format!(
            "iif(typeof({name}) = 'text' AND octet_length({name}) <= {longest},
                CAST({name} AS BLOB), NULL)"
        )
    }
}

fn length(value: &Option<Vec<u8>>) -> u64 {
    value.as_ref().map_or(0, |value| value.len() as u64)
}
