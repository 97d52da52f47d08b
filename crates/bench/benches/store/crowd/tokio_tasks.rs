//! Async callers, a tokio task each, on a runtime with two threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use sqlx::SqlitePool;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use turnkeep_repo::{AsyncRepo, Durability, Role, TaskId};

use super::tally::{Caller, Crowd, Round, Tally};
use super::threads::count_commits;
use crate::data::Data;
use crate::sides::sqlx_store::{SqlxStore, save_message};
use crate::sides::turnkeep_store;

/// sqlx and its pool.
pub(crate) struct OfSqlx {
    pub(crate) store: SqlxStore,
    pub(crate) data: Data,
}

impl Crowd for OfSqlx {
    fn run(&mut self, round: &Round) -> Result<Tally> {
        run(&self.store.runtime, &self.store.pool, &self.data, round)
    }
}

/// Turnkeep.
pub(crate) struct OfTurnkeep {
    repo: AsyncRepo,
    runtime: Runtime,
    data: Data,
}

impl OfTurnkeep {
    /// Opens the store.
    pub(crate) fn open(path: &Path, data: Data) -> Result<Self> {
        let repo = turnkeep_store::open(path, Durability::Full)?.into();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self {
            repo,
            runtime,
            data,
        })
    }
}

impl Crowd for OfTurnkeep {
    fn run(&mut self, round: &Round) -> Result<Tally> {
        count_commits(self.repo.repo(), || {
            run(&self.runtime, &self.repo, &self.data, round)
        })
    }
}

/// A handle of a store, which a task keeps.
trait Handle: Clone + Send + Sync + 'static {
    fn append(&self, task: &TaskId, content: &str) -> impl Future<Output = Result<()>> + Send;
}

impl Handle for SqlitePool {
    async fn append(&self, task: &TaskId, content: &str) -> Result<()> {
        save_message(self, task.as_str(), content).await?;
        Ok(())
    }
}

impl Handle for AsyncRepo {
    async fn append(&self, task: &TaskId, content: &str) -> Result<()> {
        self.save_message(task, Role::Assistant, content).await?;
        Ok(())
    }
}

fn run(runtime: &Runtime, handle: &impl Handle, data: &Data, round: &Round) -> Result<Tally> {
    let start = Arc::new(Barrier::new(data.tasks.len()));
    let content: Arc<str> = data.content.as_str().into();
    let mut callers = Vec::new();
    for task in &data.tasks {
        let (handle, task, round) = (handle.clone(), task.clone(), *round);
        let (start, content) = (Arc::clone(&start), Arc::clone(&content));
        callers.push(runtime.spawn(async move {
            start.wait().await;
            let mut caller = Caller::start(&round);
            while caller.has_time() {
                let started = Instant::now();
                let outcome = handle.append(&task, &content).await;
                caller.note(started, 1, &outcome);
            }
            caller.finish()
        }));
    }
    runtime.block_on(async {
        let mut sum = Tally::default();
        for caller in callers {
            sum.add(caller.await?);
        }
        Ok(sum)
    })
}
