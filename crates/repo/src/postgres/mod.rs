//! Everything that is PostgreSQL's own: addresses, connections, row locks, transaction start, error
//! codes, and how waiting appends share a round trip. The queries name no engine and live in
//! `queries`.

mod address;
pub(crate) mod append;
mod catalogue;
pub(crate) mod check;
mod clock;
mod connection;
mod error;
mod migrate;
mod pool;
mod schema;
mod space;
mod store;
mod transaction;
mod verdict;
mod writer;

/// Has a query lock the rows it reads until the transaction ends.
macro_rules! locked {
    ($query:expr) => {
        $query.for_no_key_update()
    };
}

/// The same for rows that are to be deleted: nobody else can begin to refer to them, either.
macro_rules! locked_whole {
    ($query:expr) => {
        $query.for_update()
    };
}

/// The same, leaving out what another transaction has locked.
macro_rules! skip_locked {
    ($query:expr) => {
        $query.for_no_key_update().skip_locked()
    };
}

#[path = "../ops/mod.rs"]
pub(crate) mod queries;

use diesel_migrations::EmbeddedMigrations;

pub(crate) use append::Link;
pub(crate) use clock::{clock, database_clock};
use space::{database_space, return_space};
pub(crate) use store::Store;

/// The connection that the queries run on.
pub(crate) type Conn = diesel::PgConnection;

/// Diesel's name for the engine.
pub(crate) type Db = diesel::pg::Pg;

/// What brings a database up to date.
const MIGRATIONS: EmbeddedMigrations = turnkeep_schema::POSTGRES_MIGRATIONS;

/// Name of the one operation of this module that users see.
const OPEN: &str = "open";

/// Returns what of an address may show: itself, or the error, and a message of the driver's with
/// all of it.
#[cfg(fuzzing)]
pub(crate) fn shown_address(address: &std::path::Path) -> String {
    match address::Address::parse(address) {
        Ok(address) => {
            let given = address.with(&[], None);
            let message = address.redact(&given, &given);
            format!("{address} {address:?} {message}")
        }
        Err(error) => format!("{error} {error:?}"),
    }
}

#[cfg(test)]
mod tests;
