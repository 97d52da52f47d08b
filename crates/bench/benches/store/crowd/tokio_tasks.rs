//! Async callers, a tokio task each, on a runtime with two threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tokio::sync::Barrier;
use turnkeep_repo::Durability;

use super::tally::{Caller, Crowd, Round, Tally};
use crate::data::Data;
use crate::sides::sqlx_store::{SqlxStore, save_message};

/// The pool, its runtime and the data.
pub(crate) struct TokioTasks {
    store: SqlxStore,
    data: Data,
}

impl TokioTasks {
    /// Opens a store that Turnkeep created.
    pub(crate) fn open(path: &Path, data: Data) -> Result<Self> {
        let store = SqlxStore::open(path, Durability::Full)?;
        Ok(Self { store, data })
    }
}

impl Crowd for TokioTasks {
    fn run(&mut self, round: &Round) -> Result<Tally> {
        let start = Arc::new(Barrier::new(self.data.tasks.len()));
        let content: Arc<str> = self.data.content.as_str().into();
        let mut callers = Vec::new();
        for task in &self.data.tasks {
            let (pool, task, round) = (self.store.pool.clone(), task.clone(), *round);
            let (start, content) = (Arc::clone(&start), Arc::clone(&content));
            callers.push(self.store.runtime.spawn(async move {
                start.wait().await;
                let mut caller = Caller::start(&round);
                while caller.has_time() {
                    let started = Instant::now();
                    let outcome = save_message(&pool, task.as_str(), &content).await;
                    caller.note(started, 1, &outcome.map(drop));
                }
                caller.finish()
            }));
        }
        self.store.runtime.block_on(async {
            let mut sum = Tally::default();
            for caller in callers {
                sum.add(caller.await?);
            }
            Ok(sum)
        })
    }
}
