//! The limit of many callers: one thread that commits batches of Turnkeep's size through the C API,
//! without a queue or wake-ups.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use turnkeep_repo::Durability;

use super::tally::{Caller, Crowd, Round, Tally};
use crate::data::Data;
use crate::sides::raw_store::RawStore;

/// The only caller, which goes through the tasks in turn.
pub(crate) struct Batches {
    store: RawStore,
    data: Data,
    next: usize,
}

impl Batches {
    /// Opens a store that Turnkeep created.
    pub(crate) fn open(path: &Path, data: Data) -> Result<Self> {
        let store = RawStore::open(path, Durability::Full)?;
        Ok(Self {
            store,
            data,
            next: 0,
        })
    }
}

impl Crowd for Batches {
    fn run(&mut self, round: &Round) -> Result<Tally> {
        let mut caller = Caller::start(round);
        let mut owed = 0.0;
        while caller.has_time() {
            // A mean batch of 2.5 alternates between two and three.
            owed += round.batch;
            let size = owed as usize;
            owed -= size as f64;
            let started = Instant::now();
            let tasks = self.data.tasks.iter().cycle().skip(self.next).take(size);
            self.store.save_batch(tasks, &self.data.content)?;
            caller.note(started, size, &Ok(()));
            self.next = (self.next + size) % self.data.tasks.len();
        }
        Ok(caller.finish())
    }
}
