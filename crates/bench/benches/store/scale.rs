//! The cost of appends, reads and opening as a store grows.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use turnkeep_repo::{Durability, NewTask, Repo, Role, TaskId};

use crate::data::task_id;
use crate::files::temporary_folder;
use crate::plan::Plan;
use crate::sides::raw_store::RawStore;
use crate::sides::turnkeep_store;
use crate::stats::quantile;
use crate::store::Store;
use crate::{fill, report};

const TURNS: usize = 100;
const OPENINGS: usize = 20;

/// The costs at one size.
struct Costs {
    turns: usize,
    bytes: u64,
    /// Nanoseconds of: a FULL append, a NORMAL append, a read, the same read by the raw side,
    /// opening and closing.
    nanos: [f64; 5],
}

/// Grows a store step by step and prints the costs at each size.
pub(crate) fn measure(plan: &Plan) -> Result<()> {
    let folder = temporary_folder(&plan.folder)?;
    let path = folder.path().join("scale.db");
    let content = "0123456789abcdef".repeat(64);
    fill::open_once(&path)?;
    let mut all: Vec<Costs> = Vec::new();
    let mut tasks = 0;
    for generations in plan.size.generations {
        let wanted = generations * fill::TASKS;
        let started = Instant::now();
        fill::add(&path, tasks..wanted, TURNS, &content)?;
        eprintln!("{} turns after {:.0?}", wanted * TURNS, started.elapsed());
        tasks = wanted;
        all.push(costs(&path, tasks, &content, plan)?);
    }
    print(&all);
    Ok(())
}

fn costs(path: &Path, tasks: usize, content: &str, plan: &Plan) -> Result<Costs> {
    let runs = plan.size.scale_runs;
    let open = median(OPENINGS.min(runs), |_| fill::open_once(path))?;
    // Read the file into the system's cache, so that every size is read from there.
    io::copy(&mut File::open(path)?, &mut io::sink())?;
    let [turnkeep_read, raw_read] = reads(path, tasks, runs)?;
    let bytes = fs::metadata(path)?.len();
    // Append to new tasks and delete them afterwards, so that the next size has only complete
    // tasks.
    let repo = turnkeep_store::open(path, Durability::Full)?;
    let active = (0..fill::TASKS).map(|number| task_id(tasks + number));
    let active = active.collect::<Result<Vec<_>>>()?;
    for task in &active {
        repo.save_task(&NewTask::new(task.clone(), "Refactor the login"))?;
    }
    let append = |repo: &Repo| {
        median(runs, |run| {
            let task = &active[run % active.len()];
            repo.save_message(task, Role::Assistant, content)?;
            Ok(())
        })
    };
    let full = append(&repo)?;
    drop(repo);
    let repo = turnkeep_store::open(path, Durability::Normal)?;
    let normal = append(&repo)?;
    for task in &active {
        repo.delete_task(task)?;
    }
    let turns = tasks * TURNS;
    Ok(Costs {
        turns,
        bytes,
        nanos: [full, normal, turnkeep_read, raw_read, open],
    })
}

/// Reads random tasks on both sides in turn and returns the medians of Turnkeep and of raw. Each
/// read takes another task, so that neither side profits from the other's cache.
fn reads(path: &Path, tasks: usize, runs: usize) -> Result<[f64; 2]> {
    let (mut turnkeep, mut raw) = (Repo::open(path)?, RawStore::open(path, Durability::Full)?);
    let mut random = Random(0x7475_726e_6b65_6570);
    let mut nanos = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        nanos[0].push(read(&mut turnkeep, &task_id(random.below(tasks))?)?);
        nanos[1].push(read(&mut raw, &task_id(random.below(tasks))?)?);
    }
    Ok(nanos.map(|nanos| quantile(&nanos, 0.5)))
}

/// Times a read, in nanoseconds.
fn read<S: Store>(store: &mut S, task: &TaskId) -> Result<f64> {
    let start = Instant::now();
    let history = store.get_history(task)?;
    let nanos = start.elapsed().as_secs_f64() * 1e9;
    ensure!(history.len() == TURNS, "{task} has {} turns", history.len());
    Ok(nanos)
}

/// Times each run and returns the median in nanoseconds.
fn median(runs: usize, mut run: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut nanos = Vec::with_capacity(runs);
    for index in 0..runs {
        let start = Instant::now();
        run(index)?;
        nanos.push(start.elapsed().as_secs_f64() * 1e9);
    }
    Ok(quantile(&nanos, 0.5))
}

fn print(all: &[Costs]) {
    let head = [
        "turns stored",
        "file",
        "save_message, FULL",
        "save_message, NORMAL",
        "get_history, 100 turns",
        "the same, raw",
        "open and close",
    ];
    let mut rows = Vec::new();
    for costs in all {
        let mut row = vec![
            report::thousands(costs.turns as f64),
            report::megabytes(costs.bytes),
        ];
        for (nanos, first) in costs.nanos.iter().zip(all[0].nanos) {
            row.push(format!(
                "{}, {:.2}×",
                report::duration(*nanos),
                nanos / first
            ));
        }
        rows.push(row);
    }
    report::table(&head, &rows);
}

/// Marsaglia's xorshift, the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
