//! PostgreSQL through `AsyncRepo`.

#[path = "postgres/locks.rs"]
mod locks;

/// The kind of store of these tests.
type Opened = crate::support::Blocking;
type TempDatabase = crate::postgres::temp_database::TempDatabase<Opened>;

turnkeep_conformance::suite!(TempDatabase);
crate::callers::suite!(TempDatabase);
crate::sql::suite!(TempDatabase);
