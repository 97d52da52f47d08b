//! SQLite through `AsyncRepo`. `observability` is missing: it looks at what `tracing` tells on the
//! thread of the caller.

#[path = "sqlite/constraints.rs"]
mod constraints;
#[path = "sqlite/damage.rs"]
mod damage;
#[path = "sqlite/files.rs"]
mod files;
#[path = "sqlite/locks.rs"]
mod locks;
#[path = "sqlite/log.rs"]
mod log;
#[path = "sqlite/lost.rs"]
mod lost;
#[path = "sqlite/memory.rs"]
mod memory;
#[path = "sqlite/migrations.rs"]
mod migrations;

/// The kind of store of these tests.
type Opened = crate::support::Blocking;
type TempStore = crate::sqlite::temp_store::TempStore<Opened>;

turnkeep_conformance::suite!(TempStore);
crate::callers::suite!(TempStore);
crate::sql::suite!(TempStore);
