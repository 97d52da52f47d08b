//! The effect of an endless reader on appends and on the write-ahead log.

use anyhow::{Result, ensure};
use turnkeep_repo::{Durability, Repo, Role};

use crate::files::Files;
use crate::operation::Operation;
use crate::plan::Plan;
use crate::report;
use crate::side::Side;
use crate::sides::turnkeep_store;
use crate::stats::{quantile, ratios};
use crate::worker::{Job, Worker};

/// The minimum size to which the log is grown, in bytes.
const GROWN: usize = 80_000_000;
/// Slightly more than the 64 MiB to which SQLite truncates the log.
const CUT_BACK: u64 = 68_000_000;
/// A limit far above the expected number.
const MOST_APPENDS: usize = 100_000;

/// Appends with and without such a reader in turn and prints the difference.
pub(crate) fn measure(plan: &Plan) -> Result<()> {
    let mut rows = Vec::new();
    for name in ["save_message, FULL", "save_message, NORMAL"] {
        rows.push(with_and_without(Operation::named(name)?, plan)?);
    }
    let head = [
        "with an endless reader",
        "without",
        "with",
        "ratio",
        "quartiles",
        "log without",
        "log with",
    ];
    report::table(&head, &rows);
    report::note(&cut_back(plan)?);
    Ok(())
}

fn with_and_without(operation: &Operation, plan: &Plan) -> Result<Vec<String>> {
    let create = || {
        let (tasks, turns) = (plan.size.tasks(operation), plan.size.turns(operation));
        Files::create(&plan.folder, &[Side::Turnkeep], tasks, turns)
    };
    let (quiet, read) = (create()?, create()?);
    let start = |files: &Files| {
        let (operation, tasks) = (operation.name.into(), files.data.tasks.len());
        let path = files.path(Side::Turnkeep);
        Worker::start(Side::Turnkeep, &path, Job::Lone { operation, tasks })
    };
    let (mut without, mut with) = (start(&quiet)?, start(&read)?);
    let runs = plan.size.runs_per_block(operation);
    let mut medians = (Vec::new(), Vec::new());
    without.ask::<f64>(&(0..runs))?;
    with.ask::<f64>(&(0..runs))?;
    let reader = endless_reader(&read)?;
    grow(&open(&quiet)?, &quiet)?;
    grow(&open(&read)?, &read)?;
    for block in 1..=plan.size.blocks {
        let range = block * runs..(block + 1) * runs;
        medians.0.push(without.ask(&range)?);
        medians.1.push(with.ask(&range)?);
    }
    let logs = (
        quiet.log_bytes(Side::Turnkeep)?,
        read.log_bytes(Side::Turnkeep)?,
    );
    reader.stop()?;
    without.stop()?;
    with.stop()?;
    let [low, median, high] = ratios(&medians.1, &medians.0);
    Ok(vec![
        operation.name.into(),
        report::duration(quantile(&medians.0, 0.5)),
        report::duration(quantile(&medians.1, 0.5)),
        format!("{median:.2}"),
        format!("{low:.2} to {high:.2}"),
        report::megabytes(logs.0),
        report::megabytes(logs.1),
    ])
}

/// Ends a reader under which the log grew, and appends until the log is truncated.
fn cut_back(plan: &Plan) -> Result<String> {
    let files = Files::create(&plan.folder, &[Side::Turnkeep], 1, 1)?;
    let (repo, reader) = (open(&files)?, endless_reader(&files)?);
    grow(&repo, &files)?;
    let grown = files.log_bytes(Side::Turnkeep)?;
    ensure!(grown >= GROWN as u64, "the log is small while it is read");
    reader.stop()?;
    let mut appends = 0;
    while files.log_bytes(Side::Turnkeep)? > CUT_BACK {
        ensure!(appends < MOST_APPENDS, "the log stays at {grown} bytes");
        repo.save_message(&files.data.tasks[0], Role::Assistant, &files.data.content)?;
        appends += 1;
    }
    Ok(format!(
        "After the reader's end the log was cut from {} to {} by append number {appends}.",
        report::megabytes(grown),
        report::megabytes(files.log_bytes(Side::Turnkeep)?),
    ))
}

/// Appends large turns until a log that cannot restart has the size.
fn grow(repo: &Repo, files: &Files) -> Result<()> {
    let large = files.data.content.repeat(1024);
    for _ in 0..=GROWN / large.len() {
        repo.save_message(&files.data.tasks[0], Role::Assistant, &large)?;
    }
    Ok(())
}

fn open(files: &Files) -> Result<Repo> {
    turnkeep_store::open(&files.path(Side::Turnkeep), Durability::Normal)
}

/// Starts a process that holds a read transaction.
fn endless_reader(files: &Files) -> Result<Worker> {
    let mut reader = Worker::start(Side::Raw, &files.path(Side::Turnkeep), Job::Hold)?;
    reader.ask::<()>(&())?;
    Ok(reader)
}
