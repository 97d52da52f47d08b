//! PostgreSQL through `Repo`.

mod check;
mod hostile;
mod locks;
mod orchestrator;
mod overloads;
pub mod temp_database;
mod vacuum;

/// The kind of store of these tests.
type Opened = turnkeep_repo::Repo;
type TempDatabase = temp_database::TempDatabase<Opened>;

turnkeep_conformance::suite!(TempDatabase);
crate::callers::suite!(TempDatabase);
crate::sql::suite!(TempDatabase);
