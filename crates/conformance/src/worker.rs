//! The other process of the rules that need one.
//!
//! It is a program of the harness, because the harness knows how its store is reached. It calls
//! [`run`] and nothing else; a rule drives it through a [`Worker`].

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{Durability, Role, TaskId, WorkerId};

use crate::harness::{Harness, Options};
use crate::store::Store;

/// Does in this process what a rule asks of it by `args`, all that [`Worker::start`] added to the
/// command of the harness.
///
/// What it prints is what the store acknowledged: a line stands on the pipe only after the call
/// returned `Ok`. `open` opens the store. `hold_lock` keeps every other process from writing to
/// any task, but not from reading and opening, until what it returns is dropped; it need not be able
/// to write itself.
///
/// ```no_run
/// use anyhow::Context;
/// use turnkeep_conformance::worker;
/// # fn lock_of_my_store(address: &str) -> anyhow::Result<std::fs::File> { todo!() }
///
/// fn main() -> anyhow::Result<()> {
///     let mut args = std::env::args().skip(1);
///     let address = args.next().context("an address")?;
///     worker::run(
///         args,
///         |options| options.builder(&address).open(),
///         || lock_of_my_store(&address),
///     )
/// }
/// ```
///
/// # Errors
/// What the store says, and arguments that are unknown.
pub fn run<S: Store, L>(
    args: impl IntoIterator<Item = String>,
    open: impl Fn(Options) -> turnkeep_repo::Result<S>,
    hold_lock: impl FnOnce() -> anyhow::Result<L>,
) -> anyhow::Result<()> {
    let args: Vec<String> = args.into_iter().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["append", task, writer, count] => {
            let repo = open(Options::new().durability(Durability::Full))?;
            append(&repo, &TaskId::new(task)?, writer, count.parse()?)
        }
        ["append-at", task, second, content] => {
            let time = DateTime::from_timestamp(second.parse()?, 0).context("no such second")?;
            let repo = open(Options::new().clock(move || time))?;
            say(repo.save_message(&TaskId::new(task)?, Role::User, content)?)
        }
        ["history", task] => history(&open(Options::new())?, &TaskId::new(task)?),
        ["history-later", task] => {
            let repo = open(Options::new())?;
            say("open")?;
            wait_for_go()?;
            history(&repo, &TaskId::new(task)?)
        }
        ["claim", task] => say(open(Options::new())?.claim_task(&TaskId::new(task)?)?),
        ["claim-ready", worker, most] => {
            let repo = open(Options::new())?;
            say("open")?;
            wait_for_go()?;
            claim_ready(&repo, &WorkerId::new(worker)?, most.parse()?)
        }
        ["open"] => {
            wait_for_go()?;
            open(Options::new())?;
            say("opened")
        }
        ["hold-lock"] => {
            let _lock = hold_lock()?;
            say("held")?;
            wait_for_go()
        }
        _ => bail!("unknown arguments {args:?}"),
    }
}

/// Appends `count` messages (0: until killed), acknowledging each as `ack SEQ CONTENT`.
fn append(repo: &impl Store, task: &TaskId, writer: &str, count: u64) -> anyhow::Result<()> {
    for number in 1.. {
        let content = format!("{writer}-{number}");
        let seq = repo.save_message(task, Role::User, &content)?;
        say(format_args!("ack {seq} {content}"))?;
        if number == count {
            break;
        }
    }
    Ok(())
}

/// Says the content of each turn.
fn history(repo: &impl Store, task: &TaskId) -> anyhow::Result<()> {
    let turns = repo.get_history(task)?;
    turns.iter().try_for_each(|turn| say(&turn.content))
}

/// Takes tasks for an hour until there are none, `most` at a time, and names each.
fn claim_ready(repo: &impl Store, worker: &WorkerId, most: u32) -> anyhow::Result<()> {
    loop {
        let claims = repo.claim_ready(worker, most, Duration::from_secs(3_600))?;
        if claims.is_empty() {
            return Ok(());
        }
        claims.iter().try_for_each(|claim| say(&claim.task.id))?;
    }
}

/// Waits until standard input ends, so that a test can start many workers at one moment.
fn wait_for_go() -> anyhow::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Says a line, which whoever started this process may wait for.
///
/// # Errors
/// When nobody reads any more.
pub fn say(what: impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}

/// Another process, killed when it is no longer needed.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts another process on the store, with one of these commands:
    ///
    /// - `append TASK WRITER COUNT` appends messages, as many as that or (0) until it is killed, and
    ///   says `ack SEQ CONTENT` after each.
    /// - `append-at TASK SECOND CONTENT` appends one, by a clock that stands at this second since
    ///   1970, and says its seq.
    /// - `history TASK` says the content of each turn, which must have no line breaks. `history-later
    ///   TASK` opens the store, says `open` and waits for [`go`](Self::go) before.
    /// - `claim TASK` says `true` or `false`.
    /// - `claim-ready WORKER MOST` opens the store, says `open` and waits for [`go`](Self::go). Then it
    ///   takes tasks on lease, at most so many at a time, names each, and ends when there are none.
    /// - `open` waits for [`go`](Self::go), opens the store and says `opened`.
    /// - `hold-lock` keeps others from writing, says `held` and goes on until [`go`](Self::go).
    ///
    /// # Errors
    /// When the process can't be started.
    pub fn start(store: &impl Harness, args: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(store.worker().args(args))
    }

    /// Starts another process that speaks as a worker does.
    ///
    /// # Errors
    /// When the process can't be started.
    pub fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Waits for the next whole line; `None` when the process has said its last.
    ///
    /// # Errors
    /// When it can't be read, or is no UTF-8.
    pub fn line(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.lines.next().transpose()?)
    }

    /// Closes the process's standard input, which is what it may be waiting for.
    pub fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end and returns what was left to say.
    ///
    /// # Errors
    /// When the process failed.
    pub fn finish(mut self) -> anyhow::Result<Vec<String>> {
        self.go();
        let lines = self.lines.by_ref().collect::<Result<_, _>>()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the worker ended with {status}");
        Ok(lines)
    }

    /// Kills the process with SIGKILL and returns what it had said by then.
    ///
    /// # Errors
    /// When it can't be killed.
    pub fn kill(mut self) -> anyhow::Result<Vec<String>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.lines.by_ref().collect::<Result<_, _>>()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already ended in the good case; then both have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
