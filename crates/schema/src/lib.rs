//! Diesel table definitions and embedded migrations of a Turnkeep store.
//!
//! The lowest layer: everything else depends on it, it depends on no other Turnkeep crate. The
//! tables are what `diesel print-schema` makes of a migrated database; nothing here is written
//! by hand. The meaning of each column is documented on the fields of the `turnkeep-model` types.

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

#[expect(
    missing_docs,
    reason = "generated; turnkeep-model documents the columns"
)]
mod schema;

pub use schema::*;

/// Text in `PRAGMA application_id` of every Turnkeep file, as SQLite stores it: a big-endian
/// number (`"TKEP"`). The first migration sets it.
pub const SQLITE_APPLICATION_ID: i32 = i32::from_be_bytes(*b"TKEP");

/// The migrations of `migrations/sqlite`, in the order they run.
///
/// The diesel CLI runs the same files; a database made either way is the same.
pub const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The migrations of `migrations/postgres`, in the order they run: the same names and the same
/// tables as [`SQLITE_MIGRATIONS`].
#[cfg(feature = "postgres")]
pub const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
