//! Everything that is SQLite's own: finding and making the file, pragmas, pools, transaction
//! start, error texts. The queries name no engine and live in `queries`.

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
mod locks;
mod log;
mod migrate;
mod readers;
pub(crate) mod restore;
mod schema;
mod schema_state;
mod sharing;
mod side_files;
mod space;
mod store;
mod transaction;
mod vacuum;
mod writer;

/// Has a query lock the rows it reads until the transaction ends. There is one writer.
macro_rules! locked {
    ($query:expr) => {
        $query
    };
}

/// The same for rows that are to be deleted.
macro_rules! locked_whole {
    ($query:expr) => {
        $query
    };
}

/// The same, leaving out what another transaction has locked.
macro_rules! skip_locked {
    ($query:expr) => {
        $query
    };
}

#[path = "../ops/mod.rs"]
pub(crate) mod queries;

use diesel_migrations::EmbeddedMigrations;

use crate::base::operation::OPEN;
pub(crate) use append::{append, take_over};
pub(crate) use clock::{clock, database_clock};
use space::{database_space, return_space};
pub(crate) use store::Store;

/// The connection that the queries run on.
pub(crate) type Conn = diesel::SqliteConnection;

/// Diesel's name for the engine.
pub(crate) type Db = diesel::sqlite::Sqlite;

/// What brings a file up to date.
const MIGRATIONS: EmbeddedMigrations = turnkeep_schema::SQLITE_MIGRATIONS;

/// Returns what is shown of a path that no file of a store can have.
#[cfg(fuzzing)]
pub(crate) fn shown_refusal(path: &std::path::Path) -> Option<String> {
    let refused = file::StoreFile::new(path).err()?;
    Some(format!("{refused} {refused:?}"))
}
