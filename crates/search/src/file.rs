//! The file of an index: a SQLite database with a full-text table. All of it comes from the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as SqlError};
use diesel::sql_types::{Integer, Text};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::error::{Error, Result};

/// "TKIX", by which an index is known.
const APPLICATION_ID: i32 = 0x544B_4958;

/// The version of the tables, and of the preparation of texts in `tokens.rs`.
const VERSION: i32 = 2;

/// `words` keeps no texts (`content=''`): passages are read from the store. Its rowid is `turns.row`. Marks (Mn, Mc)
/// are parts of words, which the scripts of India need. `unmerged` has a row while `words` may have words of deleted
/// rows.
const TABLES: [&str; 5] = [
    "CREATE TABLE tasks (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, agent TEXT, \
     folder TEXT, created_at INTEGER NOT NULL, last_active_at INTEGER NOT NULL, turns INTEGER NOT NULL, \
     last_text INTEGER NOT NULL)",
    "CREATE TABLE turns (row INTEGER PRIMARY KEY, task INTEGER NOT NULL, seq INTEGER NOT NULL, role TEXT NOT NULL, \
     time INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX turns_of_task ON turns (task, seq)",
    "CREATE VIRTUAL TABLE words USING fts5(body, content='', contentless_delete=1, tokenize=\"unicode61 \
     remove_diacritics 2 categories 'L* N* Co Mn Mc'\")",
    "CREATE TABLE unmerged (number INTEGER PRIMARY KEY)",
];

/// The tables for tool calls, which are made when these are asked for. `calls` has the calls by their numbers in the
/// recording `tool_files.file`, of which `length` bytes were read. The row of `call_words` is `calls.row`.
const CALL_TABLES: [&str; 5] = [
    "CREATE TABLE tool_files (task INTEGER PRIMARY KEY, file INTEGER NOT NULL, length INTEGER NOT NULL)",
    "CREATE TABLE calls (row INTEGER PRIMARY KEY, task INTEGER NOT NULL, number INTEGER NOT NULL, time INTEGER, \
     has_output INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX calls_of_task ON calls (task, number)",
    "CREATE VIRTUAL TABLE call_words USING fts5(body, content='', contentless_delete=1, tokenize=\"unicode61 \
     remove_diacritics 2 categories 'L* N* Co Mn Mc'\")",
    "CREATE TABLE unmerged_calls (number INTEGER PRIMARY KEY)",
];

/// Keeps the words of a step of an update in memory, and merges twice as many segments at once, which saves a quarter of
/// the time of the first update.
const MERGING: &str = "VALUES ('hashsize', 4000000), ('automerge', 8)";

/// A table of the texts in which words are highlighted, with the tokenizer of `words`.
pub(crate) const TEXTS: &str = "CREATE VIRTUAL TABLE temp.texts USING fts5(body, tokenize=\"unicode61 \
     remove_diacritics 2 categories 'L* N* Co Mn Mc'\")";

diesel::table! {
    tasks (number) {
        number -> BigInt,
        id -> Text,
        name -> Text,
        agent -> Nullable<Text>,
        folder -> Nullable<Text>,
        created_at -> BigInt,
        last_active_at -> BigInt,
        turns -> BigInt,
        last_text -> BigInt,
    }
}

diesel::table! {
    turns (row) {
        row -> BigInt,
        task -> BigInt,
        seq -> BigInt,
        role -> Text,
        time -> BigInt,
    }
}

diesel::table! {
    unmerged (number) {
        number -> BigInt,
    }
}

diesel::table! {
    tool_files (task) {
        task -> BigInt,
        file -> BigInt,
        length -> BigInt,
    }
}

diesel::table! {
    calls (row) {
        row -> BigInt,
        task -> BigInt,
        number -> BigInt,
        time -> Nullable<BigInt>,
        has_output -> Bool,
    }
}

diesel::table! {
    call_words (rowid) {
        rowid -> BigInt,
        body -> Text,
    }
}

diesel::table! {
    unmerged_calls (number) {
        number -> BigInt,
    }
}

diesel::table! {
    words (rowid) {
        rowid -> BigInt,
        body -> Text,
    }
}

/// Freed pages are overwritten, so that the words of removed tasks leave the file. A hostile file may bring functions
/// in its schema, which must not run, or be in WAL mode.
const SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA secure_delete = ON; PRAGMA synchronous = NORMAL; \
    PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; \
    PRAGMA cell_size_check = ON; PRAGMA journal_mode = DELETE";

/// The open file of an index, during one call.
pub(crate) struct IndexFile {
    conn: SqliteConnection,
    /// Whether this call has made the tables, which are empty.
    pub(crate) is_new: bool,
    place: Place,
}

/// The path of an index and the method that was called, for errors.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) operation: &'static str,
}

impl IndexFile {
    /// Opens the index, and makes it if there is none.
    pub(crate) fn open(place: Place) -> Result<Self> {
        let mut conn;
        {
            // The end of `create` would release the locks of other connections of this process, so none is opened
            // before.
            static CREATING: Mutex<()> = Mutex::new(());
            let _creating = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
            if !place.is_there()? {
                place.create()?;
            }
            place.refuse_foreign_files()?;
            conn = place.connect("mode=rw")?;
        }
        let is_new = prepare(&mut conn).map_err(|error| place.sql(error))?;
        Ok(Self {
            conn,
            is_new,
            place,
        })
    }

    /// Runs a transaction that writes.
    pub(crate) fn write<T>(
        &mut self,
        write: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T> {
        let result = self.conn.immediate_transaction(write);
        result.map_err(|error| self.place.sql(error))
    }

    /// Runs a query.
    pub(crate) fn read<T>(
        &mut self,
        read: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T> {
        read(&mut self.conn).map_err(|error| self.place.sql(error))
    }
}

/// Sets a connection up and makes the tables of an empty file. Returns whether it has made them.
fn prepare(conn: &mut SqliteConnection) -> QueryResult<bool> {
    conn.batch_execute(SETTINGS)?;
    if is_current(conn)? {
        return Ok(false);
    }
    conn.immediate_transaction(|conn| {
        let tables: i32 = value(conn, "SELECT count(*) FROM sqlite_master")?;
        if tables > 0 {
            // Another process may have made them meanwhile.
            return match is_current(conn)? {
                true => Ok(false),
                false => Err(SqlError::DeserializationError(
                    "the tables are of another version".into(),
                )),
            };
        }
        for table in TABLES {
            conn.batch_execute(table)?;
        }
        conn.batch_execute(&format!("INSERT INTO words (words, rank) {MERGING}"))?;
        conn.batch_execute(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}"
        ))?;
        Ok(true)
    })
}

/// Whether the file has the tables of this version and nothing else, such as a trigger.
fn is_current(conn: &mut SqliteConnection) -> QueryResult<bool> {
    let version: i32 = value(conn, "PRAGMA user_version")?;
    let tables: Vec<String> = diesel::dsl::sql::<Text>(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND NOT (type = 'table' AND name IN \
         ('words_data', 'words_idx', 'words_docsize', 'words_config', \
         'call_words_data', 'call_words_idx', 'call_words_docsize', 'call_words_config')) ORDER BY rowid",
    )
    .load(conn)?;
    let has_calls = tables.len() > TABLES.len();
    let expected = TABLES
        .iter()
        .chain(CALL_TABLES.iter().filter(|_| has_calls));
    Ok(version == VERSION && tables.iter().eq(expected))
}

/// Whether the index has tool calls.
pub(crate) fn has_calls(conn: &mut SqliteConnection) -> QueryResult<bool> {
    let tables = value(
        conn,
        "SELECT count(*) FROM sqlite_master WHERE name = 'calls'",
    )?;
    Ok(tables > 0)
}

/// Makes the tables for tool calls unless they are there.
pub(crate) fn add_call_tables(conn: &mut SqliteConnection) -> QueryResult<()> {
    if has_calls(conn)? {
        return Ok(());
    }
    for table in CALL_TABLES {
        conn.batch_execute(table)?;
    }
    conn.batch_execute(&format!(
        "INSERT INTO call_words (call_words, rank) {MERGING}"
    ))
}

fn value(conn: &mut SqliteConnection, query: &str) -> QueryResult<i32> {
    diesel::dsl::sql::<Integer>(query).get_result(conn)
}

impl Place {
    /// Deletes the index, unless another process is writing to it.
    pub(crate) fn discard(&self) -> Result<()> {
        if !self.is_there()? {
            return Ok(());
        }
        self.refuse_foreign_files()?;
        // The lock is held to the end. A file may be too damaged to have one.
        let mut conn = self.connect("mode=rw");
        if let Ok(conn) = &mut conn
            && let Err(error) = conn.batch_execute("PRAGMA busy_timeout = 5000; BEGIN EXCLUSIVE")
            && let busy @ Error::Busy { .. } = self.sql(error)
        {
            return Err(busy);
        }
        for path in [self.path.clone(), self.beside("-journal")] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.file(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns whether there is an index, or an empty file, at the path. Refuses anything else.
    fn is_there(&self) -> Result<bool> {
        let metadata = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.file(error)),
        };
        if !metadata.is_file() {
            return Err(self.foreign(&self.path, "is no regular file"));
        }
        #[cfg(unix)]
        self.refuse_another_users(&metadata)?;
        // The process that makes an index may not have come further yet.
        if metadata.len() > 0 {
            self.refuse_other_contents()?;
        }
        #[cfg(unix)]
        self.make_private(&metadata)?;
        Ok(true)
    }

    /// Refuses a file that is no index.
    fn refuse_other_contents(&self) -> Result<()> {
        // SQLite opens it, since the end of another handle would release the locks of this process. `immutable`
        // reads no journal, takes no lock and changes nothing. `writable_schema` reads the header of a damaged file.
        let mut conn = self.connect("mode=ro&immutable=1")?;
        let id = conn.batch_execute("PRAGMA writable_schema = ON");
        match id.and_then(|()| value(&mut conn, "PRAGMA application_id")) {
            Ok(APPLICATION_ID) => Ok(()),
            Ok(_) => Err(self.foreign(&self.path, "is another program's database")),
            Err(error) => match self.sql(error) {
                Error::Damaged { .. } => Err(self.foreign(&self.path, "is no search index")),
                error => Err(error),
            },
        }
    }

    /// Makes an empty file that only this user can read. SQLite gives its journal the same mode.
    fn create(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(self.file(error)),
            _ => Ok(()),
        }
    }

    /// Refuses a file that another user could read or write.
    #[cfg(unix)]
    fn refuse_another_users(&self, metadata: &fs::Metadata) -> Result<()> {
        use std::os::unix::fs::MetadataExt as _;

        if metadata.uid() != rustix::process::geteuid().as_raw() {
            let reason = "it belongs to another user";
            return Err(self.file(io::Error::new(io::ErrorKind::PermissionDenied, reason)));
        }
        match metadata.nlink() {
            0 | 1 => Ok(()),
            _ => Err(self.foreign(&self.path, "has a second name, a hard link")),
        }
    }

    /// Takes the rights of others away from an index that was copied without its mode.
    #[cfg(unix)]
    fn make_private(&self, metadata: &fs::Metadata) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;

        let mut permissions = metadata.permissions();
        if permissions.mode() & 0o077 == 0 {
            return Ok(());
        }
        permissions.set_mode(permissions.mode() & 0o700);
        fs::set_permissions(&self.path, permissions).map_err(|error| self.file(error))
    }

    /// Refuses files beside the index that SQLite would read or delete as its own: a log, which an index has not, and a
    /// journal of something else. SQLite would also delete the super-journal that a journal names. An index is never
    /// attached to another database, so its own journals name none.
    fn refuse_foreign_files(&self) -> Result<()> {
        const MAGIC: [u8; 8] = *b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
        for path in [self.beside("-wal"), self.beside("-shm")] {
            if fs::symlink_metadata(&path).is_ok() {
                return Err(self.foreign(&path, "is no file of an index"));
            }
        }
        let path = self.beside("-journal");
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(self.foreign(&path, "is no regular file")),
            Err(_) => return Ok(()),
        }
        // Another process may have ended its journal meanwhile.
        let Ok(mut journal) = File::open(&path) else {
            return Ok(());
        };
        let (mut start, mut end) = (Vec::new(), Vec::new());
        let mut read = || {
            (&journal).take(8).read_to_end(&mut start)?;
            if journal.seek(SeekFrom::End(-8)).is_ok() {
                journal.read_to_end(&mut end)?;
            }
            Ok(())
        };
        read().map_err(|error: io::Error| self.file(error))?;
        // The magic is written last. Until then there are zeros.
        if !start.is_empty() && start != MAGIC && start != [0; 8] {
            return Err(self.foreign(&path, "is no journal"));
        }
        match end == MAGIC {
            true => Err(self.foreign(&path, "is the journal of several databases")),
            false => Ok(()),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn connect(&self, parameters: &str) -> Result<SqliteConnection> {
        const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');
        let path = percent_encode(self.path.as_os_str().as_encoded_bytes(), ESCAPED);
        SqliteConnection::establish(&format!("file://{path}?{parameters}"))
            .map_err(|error| self.file(error))
    }

    fn foreign(&self, path: &Path, reason: &'static str) -> Error {
        Error::NotAnIndex {
            operation: self.operation,
            path: path.to_owned(),
            reason,
        }
    }

    /// Makes an error of SQLite's, of which Diesel passes on only the text. An unknown one counts as damage: a new
    /// index may not have it.
    pub(crate) fn sql(&self, error: SqlError) -> Error {
        let (operation, path) = (self.operation, self.path.clone());
        let text = match &error {
            SqlError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
                information.message()
            }
            _ => "",
        };
        match text {
            "database is locked" | "locking protocol" => Error::Busy { operation, path },
            "attempt to write a readonly database"
            | "access permission denied"
            | "disk I/O error"
            | "out of memory"
            | "unable to open database file" => self.file(error),
            text if text.starts_with("database or disk is full") => self.file(error),
            text if text.starts_with("no such module") => self.file(error),
            _ => Error::Damaged {
                operation,
                path,
                source: error.into(),
            },
        }
    }

    fn file(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::File {
            operation: self.operation,
            path: self.path.clone(),
            source: source.into(),
        }
    }
}
