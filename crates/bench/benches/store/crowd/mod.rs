//! Many concurrent callers, each with its own task, appending durably for a fixed time.

mod batches;
mod rounds;
mod tally;
mod threads;
mod tokio_tasks;

use std::path::Path;

use anyhow::Result;
use turnkeep_repo::Durability;

use crate::data::Data;
use crate::side::Side;
use crate::sides::diesel_store::DieselStore;
use crate::sides::jsonl_store::JsonlStore;
use crate::sides::rusqlite_store::RusqliteStore;
use crate::sides::sqlx_store::SqlxStore;
use crate::sides::turnkeep_store;

pub(crate) use rounds::{Figures, measure};
use tally::Crowd;

/// Opens the side with a caller per task.
pub(crate) fn open(side: Side, path: &Path, data: Data) -> Result<Box<dyn Crowd>> {
    let durability = Durability::Full;
    Ok(match side {
        Side::Raw | Side::Lean | Side::E463321 => Box::new(batches::Batches::open(path, data)?),
        Side::Turnkeep => Box::new(threads::OfTurnkeep {
            repo: turnkeep_store::open(path, durability)?,
            data,
        }),
        Side::Diesel => Box::new(threads::Threads {
            store: DieselStore::open(path, durability)?,
            data,
        }),
        Side::Tokio => Box::new(tokio_tasks::OfTurnkeep::open(path, data)?),
        Side::Sqlx => Box::new(tokio_tasks::OfSqlx {
            store: SqlxStore::open(path, durability)?,
            data,
        }),
        Side::Rusqlite => Box::new(threads::Threads {
            store: RusqliteStore::open(path, durability)?,
            data,
        }),
        Side::Jsonl => Box::new(threads::Threads {
            store: JsonlStore::open(path)?,
            data,
        }),
    })
}
