#![doc = include_str!("../README.md")]

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

#[expect(
    missing_docs,
    clippy::exhaustive_structs,
    reason = "generated; turnkeep-model documents the columns"
)]
mod schema;

pub use schema::*;

/// Text in `PRAGMA application_id` of every Turnkeep file, as SQLite stores it: a big-endian
/// number (`"TKEP"`). The first migration sets it.
pub const SQLITE_APPLICATION_ID: i32 = i32::from_be_bytes(*b"TKEP");

/// The tables of a store, parents before children. Each has a view `…_readable` beside it.
pub const TABLES: [&str; 10] = [
    "tasks",
    "task_dependencies",
    "sessions",
    "session_revisions",
    "conversation_history",
    "history_retractions",
    "recordings",
    "recording_chunks",
    "removed_sessions",
    "imported_files",
];

/// The table in which Diesel lists the migrations that a database has had.
pub const MIGRATIONS_TABLE: &str = "__diesel_schema_migrations";

/// The migrations of `migrations/sqlite`, in the order they run.
///
/// The diesel CLI runs the same files; a database made either way is the same.
pub const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The schema that the migrations of SQLite make: the rows of `sqlite_master`, each as a line
/// `-- type name table length` and its statement, of that many bytes. A test of `turnkeep-repo` writes it.
pub const SQLITE_CATALOGUE: &str = include_str!("sqlite_catalogue.sql");

/// The migrations of `migrations/postgres`, in the order they run: the same names as for SQLite,
/// and tables of the same columns. They make everything in the first schema of the search
/// path.
///
/// The diesel CLI runs the same files; a database made either way is the same.
#[cfg(feature = "postgres")]
pub const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The schema that the migrations of PostgreSQL make, as `turnkeep-repo` reads it from the system's
/// catalogues: each part as a line `-- kind name table length` and its definition, of that many bytes. A test of
/// `turnkeep-repo` writes it.
#[cfg(feature = "postgres")]
pub const POSTGRES_CATALOGUE: &str = include_str!("postgres_catalogue.txt");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    fn migrations(engine: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("migrations")
            .join(engine);
        let names = std::fs::read_dir(folder).unwrap().map(|migration| {
            let migration = migration.unwrap();
            for file in ["up.sql", "down.sql"] {
                let file = migration.path().join(file);
                assert!(file.is_file(), "{} is missing", file.display());
            }
            migration.file_name().into_string().unwrap()
        });
        names.collect()
    }

    /// A migration has one name and one number, whatever the engine.
    #[test]
    fn every_engine_has_the_same_migrations() {
        let sqlite = migrations("sqlite");
        assert!(!sqlite.is_empty());
        assert_eq!(migrations("postgres"), sqlite);
    }
}
