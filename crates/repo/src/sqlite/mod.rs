//! The part of the store that is SQLite's own: the file and the files beside it, connections, the writer, error
//! texts. The queries are in `ops`.

mod append;
pub(crate) mod backup;
mod batch;
mod catalogue;
pub(crate) mod check;
mod clock;
mod connection;
mod error;
mod file;
mod file_format;
mod filesystem;
mod full;
mod identity;
mod inspect;
mod last_turns;
mod locks;
mod log;
mod metadata;
mod migrate;
mod readers;
pub(crate) mod restore;
mod schema;
mod schema_state;
mod sharing;
mod side_files;
mod space;
pub(crate) mod store;
mod transaction;
mod vacuum;
mod version;
mod watch;
pub(crate) mod writer;
mod written_files;

/// Locks the rows of a query until the transaction ends. SQLite has one writer, so nothing is to do.
macro_rules! locked {
    ($query:expr) => {
        $query
    };
}

/// Locks rows that are to be deleted.
macro_rules! locked_whole {
    ($query:expr) => {
        $query
    };
}

/// Skips rows that another transaction has locked.
macro_rules! skip_locked {
    ($query:expr) => {
        $query
    };
}

#[path = "../ops/mod.rs"]
pub(crate) mod ops;

use diesel_migrations::EmbeddedMigrations;

/// The connection that the queries run on.
pub(crate) type Conn = diesel::SqliteConnection;

/// Diesel's name for the engine.
pub(crate) type Db = diesel::sqlite::Sqlite;

/// The migrations of the schema.
const MIGRATIONS: EmbeddedMigrations = turnkeep_schema::SQLITE_MIGRATIONS;

/// Returns the error for a path that is refused, for the fuzzer.
#[cfg(fuzzing)]
pub(crate) fn shown_refusal(path: &std::path::Path) -> Option<String> {
    let refused = file::StoreFile::new(path).err()?;
    Some(format!("{refused} {refused:?}"))
}
