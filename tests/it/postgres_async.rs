//! PostgreSQL through `AsyncRepo`.

#[path = "postgres/locks.rs"]
mod locks;

/// What the stores of these tests are opened as.
type Opened = crate::support::Blocking;
type TempDatabase = crate::postgres::temp_database::TempDatabase<Opened>;

turnkeep_conformance::suite!(TempDatabase);
crate::sql::suite!(TempDatabase);
