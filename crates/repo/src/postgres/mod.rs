//! The part of the store that is PostgreSQL's own: addresses, connections, row locks, transactions, error
//! codes, and appends that share a round trip. The queries are in `ops`.

mod address;
pub(crate) mod append;
mod catalogue;
pub(crate) mod check;
mod clock;
mod connection;
mod error;
mod metadata;
mod migrate;
mod pool;
mod schema;
mod schema_state;
mod space;
pub(crate) mod store;
mod transaction;
mod watch;
pub(crate) mod writer;
mod written_files;

/// Locks the rows of a query until the transaction ends.
macro_rules! locked {
    ($query:expr) => {
        $query.for_no_key_update()
    };
}

/// Locks rows that are to be deleted: no other transaction can begin to refer to them either.
macro_rules! locked_whole {
    ($query:expr) => {
        $query.for_update()
    };
}

/// Locks the rows of a query, and skips rows that another transaction has locked.
macro_rules! skip_locked {
    ($query:expr) => {
        $query.for_no_key_update().skip_locked()
    };
}

#[path = "../ops/mod.rs"]
pub(crate) mod ops;

use diesel_migrations::EmbeddedMigrations;

/// The connection that the queries run on.
pub(crate) type Conn = diesel::PgConnection;

/// Diesel's name for the engine.
pub(crate) type Db = diesel::pg::Pg;

/// The migrations of the schema.
const MIGRATIONS: EmbeddedMigrations = turnkeep_schema::POSTGRES_MIGRATIONS;

/// Returns every form in which an address is shown, for the fuzzer.
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
