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
        count_commits(&self.repo, || run(&self.repo, &self.data, round))
    }
}

/// Notes the appends per commit of a round.
pub(super) fn count_commits(repo: &Repo, round: impl FnOnce() -> Result<Tally>) -> Result<Tally> {
    let before = repo.stats();
    let mut tally = round()?;
    let after = repo.stats();
    let commits = (after.batches - before.batches).max(1);
    tally.batch = Some(((after.writes - before.writes) as f64 / commits as f64).max(1.0));
    Ok(tally)
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
