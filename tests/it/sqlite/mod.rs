//! SQLite through `Repo`.

mod backup;
mod check;
mod constraints;
mod damage;
mod files;
mod hostile;
mod locks;
mod log;
mod lost;
mod memory;
mod migrations;
mod observability;
mod orchestrator;
mod restore;
mod side_files;
pub mod temp_store;
mod vacuum;
mod viewer;

/// The kind of store of these tests.
type Opened = turnkeep_repo::Repo;
type TempStore = temp_store::TempStore<Opened>;

turnkeep_conformance::suite!(TempStore);
crate::callers::suite!(TempStore);
crate::sql::suite!(TempStore);
