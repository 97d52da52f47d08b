//! Each side measures itself in a process of its own, and waits while the other one does.
//!
//! In one process they would not be apart: the bundled SQLite is built with
//! `SQLITE_ENABLE_MEMORY_MANAGEMENT`, with which all connections of a process share one list of
//! least recently used pages, and one that is full takes pages from the others. Measured that
//! way, the raw side read 2,000 pages where Turnkeep read 340, for the same 1,000 turns.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::measure::time_block;
use crate::operation::{Data, Operation};
use crate::pair::{Pair, open_turnkeep};
use crate::plan::{Plan, Side};
use crate::raw_store::RawStore;
use crate::store::Store;

/// The process of one side. Told a range in a line, it answers with the median in a line.
pub(crate) struct Worker {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts this program again, as a worker.
    pub(crate) fn start(
        operation: &Operation,
        side: Side,
        pair: &Pair,
        plan: &Plan,
    ) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--bench", "--only", operation.name])
            .args(["--side", side.name(), "--serve"])
            .arg(pair.file(side));
        if plan.is_test {
            command.arg("--test");
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = process.stdin.take().context("the worker has no input")?;
        let from = process.stdout.take().context("the worker has no output")?;
        let from = BufReader::new(from);
        Ok(Self { process, to, from })
    }

    /// Has the worker run a block and returns its median, in nanoseconds.
    pub(crate) fn run_block(&mut self, range: Range<usize>) -> Result<f64> {
        writeln!(self.to, "{} {}", range.start, range.end)?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        line.trim().parse().context("the worker failed")
    }

    /// Has the worker close its database.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.to);
        ensure!(self.process.wait()?.success(), "the worker failed at last");
        Ok(())
    }
}

/// Is the worker, until its input ends.
pub(crate) fn serve(operation: &Operation, side: Side, file: &Path, plan: &Plan) -> Result<()> {
    let data = Data::new(plan.tasks(operation))?;
    match side {
        Side::Raw => answer(
            operation,
            &mut RawStore::open(file, operation.durability)?,
            &data,
        ),
        Side::Turnkeep => answer(
            operation,
            &mut open_turnkeep(file, operation.durability)?,
            &data,
        ),
    }
}

fn answer<S: Store>(operation: &Operation, store: &mut S, data: &Data) -> Result<()> {
    for line in std::io::stdin().lines() {
        let line = line?;
        let (start, end) = line.split_once(' ').context("two numbers are needed")?;
        let range = start.parse()?..end.parse()?;
        println!("{}", time_block(operation, store, data, range)?);
    }
    Ok(())
}
