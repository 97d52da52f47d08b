//! PostgreSQL through `Repo`.

mod check;
mod hostile;
mod locks;
mod overloads;
pub mod temp_database;
mod vacuum;

/// What the stores of these tests are opened as.
type Opened = turnkeep_repo::Repo;
type TempDatabase = temp_database::TempDatabase<Opened>;

turnkeep_conformance::suite!(TempDatabase);
crate::sql::suite!(TempDatabase);
