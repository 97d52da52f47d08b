//! A process per side, which measures itself while the others wait.
//!
//! The bundled SQLite is built with `SQLITE_ENABLE_MEMORY_MANAGEMENT`: all connections of a process
//! share one LRU list of pages, and a full cache takes pages from the others. In one process, the
//! raw side read 2,000 pages where Turnkeep read 340 for the same 1,000 turns.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::side::Side;

/// The order of a worker, passed on its command line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) side: Side,
    pub(crate) path: PathBuf,
    pub(crate) job: Job,
}

/// The job of a worker, done once for each line it receives.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Runs a range of an operation and answers with the median.
    Lone { operation: String, tasks: usize },
    /// Appends for a `Round` and answers with a `Tally`.
    Crowd { first_task: usize, threads: usize },
    /// Reads a history and answers with the memory it needed.
    Read { in_pages: bool },
    /// Holds a read transaction from the first line on.
    Hold,
}

/// The process of a side, which answers each line with a line.
pub(crate) struct Worker {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts this program as a worker.
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

    /// Sends a request and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, what: &impl Serialize) -> Result<A> {
        self.tell(what)?;
        self.hear()
    }

    /// Sends a request.
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

    /// Ends the worker, which closes its database.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.to);
        ensure!(self.process.wait()?.success(), "the worker failed at last");
        Ok(())
    }
}
