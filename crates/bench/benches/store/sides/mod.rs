//! The sides of the comparison.

pub(crate) mod diesel_store;
pub(crate) mod jsonl_store;
#[expect(unsafe_code, reason = "calls the C API")]
pub(crate) mod raw;
mod raw_rows;
pub(crate) mod raw_store;
pub(crate) mod rusqlite_store;
mod sql;
pub(crate) mod sqlx_store;
pub(crate) mod turnkeep_store;

use std::path::Path;

use anyhow::Result;
use turnkeep_repo::Durability;

use crate::any_store::AnyStore;
use crate::side::Side;

/// Opens the side's copy that `files` made.
pub(crate) fn open(side: Side, path: &Path, durability: Durability) -> Result<Box<dyn AnyStore>> {
    Ok(match side {
        Side::Raw | Side::Lean | Side::E463321 => {
            Box::new(raw_store::RawStore::open(path, durability)?)
        }
        Side::Turnkeep | Side::Tokio => Box::new(turnkeep_store::open(path, durability)?),
        Side::Diesel => Box::new(diesel_store::DieselStore::open(path, durability)?),
        Side::Sqlx => Box::new(sqlx_store::SqlxStore::open(path, durability)?),
        Side::Rusqlite => Box::new(rusqlite_store::RusqliteStore::open(path, durability)?),
        Side::Jsonl => Box::new(jsonl_store::JsonlStore::open(path)?),
    })
}
