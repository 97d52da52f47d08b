//! Each side measures itself in a process of its own, and waits while the others do.
//!
//! In one process they would not be apart: the bundled SQLite is built with
//! `SQLITE_ENABLE_MEMORY_MANAGEMENT`, with which all connections of a process share one list of
//! least recently used pages, and one that is full takes pages from the others. Measured that
//! way, the raw side read 2,000 pages where Turnkeep read 340, for the same 1,000 turns.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::side::Side;

/// What a worker is for. It is told in the command line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) side: Side,
    pub(crate) path: PathBuf,
    pub(crate) job: Job,
}

/// What a worker does whenever a line tells it to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Runs a range of an operation's runs, answers with the median.
    Lone { operation: String, tasks: usize },
    /// Appends for the time of a `Round`, answers with a `Tally`.
    Crowd { first_task: usize, threads: usize },
    /// Reads a task's history, answers with the memory that it took.
    Read { in_pages: bool },
    /// Is in the middle of a read transaction from the first line on, answers with nothing.
    Hold,
}

/// The process of one side. Told something in a line, it answers in a line.
pub(crate) struct Worker {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts this program again, as a worker.
    pub(crate) fn start(side: Side, path: &Path, job: Job) -> Result<Self> {
        let path = path.to_owned();
        let order = serde_json::to_string(&Order { side, path, job })?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--bench", "--work", &order])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = process.stdin.take().context("the worker has no input")?;
        let from = process.stdout.take().context("the worker has no output")?;
        let from = BufReader::new(from);
        Ok(Self { process, to, from })
    }

    /// Tells the worker something and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, what: &impl Serialize) -> Result<A> {
        self.tell(what)?;
        self.hear()
    }

    /// Tells the worker something.
    pub(crate) fn tell(&mut self, what: &impl Serialize) -> Result<()> {
        writeln!(self.to, "{}", serde_json::to_string(what)?)?;
        Ok(())
    }

    /// Waits for the answer.
    pub(crate) fn hear<A: DeserializeOwned>(&mut self) -> Result<A> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        serde_json::from_str(&line).context("the worker failed")
    }

    /// Has the worker close its database.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.to);
        ensure!(self.process.wait()?.success(), "the worker failed at last");
        Ok(())
    }
}
