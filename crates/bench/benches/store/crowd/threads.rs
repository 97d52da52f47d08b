//! Blocking callers, a thread each.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use turnkeep_repo::Repo;

use super::tally::{Caller, Crowd, Round, Tally};
use crate::data::Data;
use crate::store::Store;

/// A store with a handle per thread.
pub(crate) struct Threads<S> {
    pub(crate) store: S,
    pub(crate) data: Data,
}

impl<S: Store + Clone + Send> Crowd for Threads<S> {
    fn run(&mut self, round: &Round) -> Result<Tally> {
        run(&self.store, &self.data, round)
    }
}

/// Turnkeep, which also reports its appends per commit.
pub(crate) struct OfTurnkeep {
    pub(crate) repo: Repo,
    pub(crate) data: Data,
}

impl Crowd for OfTurnkeep {
    fn run(&mut self, round: &Round) -> Result<Tally> {
        let before = writes_and_commits(&self.repo);
        let mut tally = run(&self.repo, &self.data, round)?;
        let after = writes_and_commits(&self.repo);
        let commits = (after.1 - before.1).max(1);
        tally.batch = Some(((after.0 - before.0) as f64 / commits as f64).max(1.0));
        Ok(tally)
    }
}

/// Returns the writes and the commits since the store was opened.
fn writes_and_commits(repo: &Repo) -> (u64, u64) {
    let stats = repo.stats();
    (stats.writes, stats.batches)
}

fn run<S: Store + Clone + Send>(store: &S, data: &Data, round: &Round) -> Result<Tally> {
    let start = Barrier::new(data.tasks.len());
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for task in &data.tasks {
            let (mut store, start) = (store.clone(), &start);
            callers.push(scope.spawn(move || {
                start.wait();
                let mut caller = Caller::start(round);
                while caller.has_time() {
                    let started = Instant::now();
                    let outcome = store.save_message(task, &data.content);
                    caller.note(started, 1, &outcome.map(drop));
                }
                caller.finish()
            }));
        }
        let mut sum = Tally::default();
        for caller in callers {
            sum.add(caller.join().map_err(|_| anyhow!("a caller panicked"))?);
        }
        Ok(sum)
    })
}
