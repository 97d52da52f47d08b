//! The second process of a rule. It is a program of the harness that calls [`run`]; the rule drives it
//! through a [`Worker`].

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{
    BackendType, Durability, NewSession, NewTask, RecordingName, Role, TaskId, WorkerId,
};

use crate::harness::{Harness, Options};
use crate::store::Store;

/// Executes the command in `args`, the arguments that [`Worker::start`] added to the command of the
/// harness. Prints a line only after the store has acknowledged the call.
///
/// `open` opens the store. `hold_lock` returns a guard that blocks all writes of other processes, but
/// neither reads nor opening, until it is dropped.
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
/// Errors of the store, and unknown arguments.
pub fn run<S: Store, L>(
    args: impl IntoIterator<Item = String>,
    open: impl Fn(Options) -> turnkeep_repo::Result<S>,
    hold_lock: impl FnOnce() -> anyhow::Result<L>,
) -> anyhow::Result<()> {
    let args: Vec<String> = args.into_iter().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["append", task, writer, count] => {
            // Long enough for many writers on a slow disk.
            let options = Options::new().timeout(Duration::from_secs(60));
            let repo = open(options.durability(Durability::Full))?;
            append(&repo, &TaskId::new(task)?, writer, count.parse()?)
        }
        ["record", task] => record(&open(Options::new())?, &TaskId::new(task)?),
        ["checkpoint", task] => checkpoint(&open(Options::new())?, &TaskId::new(task)?),
        ["append-at", task, second, content] => {
            let time = DateTime::from_timestamp(second.parse()?, 0).context("no such second")?;
            let repo = open(Options::new().clock(move || time))?;
            say(repo.save_message(&TaskId::new(task)?, Role::User, content)?)
        }
        ["history", task] => history(&open(Options::new())?, &TaskId::new(task)?),
        ["view", task] => history(&open(Options::new().read_only())?, &TaskId::new(task)?),
        ["history-later", task] => {
            let repo = open(Options::new())?;
            say("open")?;
            wait_for_go()?;
            history(&repo, &TaskId::new(task)?)
        }
        ["follow", task, count] => {
            let mut next = open(Options::new())?.follow(&TaskId::new(task)?, None);
            for _ in 0..count.parse()? {
                let turn = next()?;
                say(format_args!("{} {}", turn.seq, turn.content))?;
            }
            Ok(())
        }
        ["claim", task] => say(open(Options::new())?.claim_task(&TaskId::new(task)?)?),
        ["claim-ready", worker, limit] => {
            let repo = open(Options::new())?;
            say("open")?;
            wait_for_go()?;
            claim_ready(&repo, &WorkerId::new(worker)?, limit.parse()?)
        }
        ["check"] => {
            let checks = turnkeep_admin::check(open(Options::new())?.repo())?.checks;
            checks.iter().try_for_each(|check| say(check.name))
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

/// Appends `count` messages, or until killed if `count` is 0. Prints `ack SEQ CONTENT` for each.
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

/// Adds numbered lines to a kept file. Prints its length after each.
fn record(repo: &impl Store, task: &TaskId) -> anyhow::Result<()> {
    let name = RecordingName::new("lines")?;
    let (mut length, mut written) = (0, 0);
    for number in 1.. {
        let line = format!("line {number}\n");
        // The lines of an earlier process are kept already.
        let kept = repo.save_recording(task, &name, written, line.as_bytes())?;
        written += line.len() as u64;
        if kept > length {
            length = kept;
            say(length)?;
        }
    }
    Ok(())
}

/// Repeats a transaction that writes two turns, a binding and a task. Prints `half N` in the middle of the
/// N-th, and `ack N` after its commit.
fn checkpoint(repo: &impl Store, task: &TaskId) -> anyhow::Result<()> {
    for number in 1.. {
        let task = task.clone();
        repo.transaction(move |tx| -> anyhow::Result<()> {
            let id = format!("s{number}");
            tx.save_message(&task, Role::User, &id)?;
            tx.save_session(&task, &NewSession::new(BackendType::Codex, id.parse()?))?;
            say(format_args!("half {number}"))?;
            tx.save_message(&task, Role::Assistant, &id)?;
            tx.save_task(&NewTask::new(id.parse()?, "Next"))?;
            Ok(())
        })?;
        say(format_args!("ack {number}"))?;
    }
    Ok(())
}

/// Prints the text of each turn.
fn history(repo: &impl Store, task: &TaskId) -> anyhow::Result<()> {
    let turns = repo.get_history(task)?;
    turns.iter().try_for_each(|turn| say(&turn.content))
}

/// Claims tasks for an hour, `limit` at a time, until none is ready. Prints the id of each.
fn claim_ready(repo: &impl Store, worker: &WorkerId, limit: u32) -> anyhow::Result<()> {
    loop {
        let claims = repo.claim_ready(worker, limit, Duration::from_secs(3_600))?;
        if claims.is_empty() {
            return Ok(());
        }
        claims.iter().try_for_each(|claim| say(&claim.task.id))?;
    }
}

/// Waits for the end of standard input, so that a rule can start several workers at once.
fn wait_for_go() -> anyhow::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Prints a line for the process that started this one.
///
/// # Errors
/// Standard output is closed.
pub fn say(line: impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Another process, killed on drop.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts another process on the store with one of these commands:
    ///
    /// - `append TASK WRITER COUNT` appends `COUNT` messages, or until killed if `COUNT` is 0, and
    ///   prints `ack SEQ CONTENT` after each.
    /// - `record TASK` adds the lines `line 1`, `line 2`, … to a kept file, until killed, and prints its length as it
    ///   grows.
    /// - `checkpoint TASK` repeats a transaction that writes two turns, a binding and a task, until killed.
    ///   Prints `half N` in the middle of the N-th one and `ack N` after its commit.
    /// - `append-at TASK SECOND CONTENT` appends a message at this second since 1970 and prints its
    ///   seq.
    /// - `history TASK` prints the text of each turn. `view TASK` does so with a read-only store.
    ///   `history-later TASK` first opens the store, prints `open` and waits for [`go`](Self::go).
    /// - `follow TASK COUNT` prints the seq and text of the first `COUNT` turns, each as it comes.
    /// - `claim TASK` prints `true` or `false`.
    /// - `claim-ready WORKER LIMIT` opens the store, prints `open` and waits for [`go`](Self::go).
    ///   Then it claims tasks, `LIMIT` at a time, and prints their ids until none is ready.
    /// - `check` prints the name of each check of the store.
    /// - `open` waits for [`go`](Self::go), opens the store and prints `opened`.
    /// - `hold-lock` blocks the writes of others, prints `held` and waits for [`go`](Self::go).
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start(store: &impl Harness, args: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(store.worker().args(args))
    }

    /// Starts another program that prints lines as a worker does.
    ///
    /// # Errors
    /// The process can't be started.
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

    /// Waits for the next line. Returns `None` at the end of the output.
    ///
    /// # Errors
    /// The line can't be read or is not UTF-8.
    pub fn line(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.lines.next().transpose()?)
    }

    /// Closes the standard input of the process, which starts a waiting command.
    pub fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end of the process and returns its remaining lines.
    ///
    /// # Errors
    /// The process failed.
    pub fn finish(mut self) -> anyhow::Result<Vec<String>> {
        self.go();
        let lines = self.lines.by_ref().collect::<Result<_, _>>()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the worker ended with {status}");
        Ok(lines)
    }

    /// Kills the process with SIGKILL and returns its remaining lines.
    ///
    /// # Errors
    /// The process can't be killed.
    pub fn kill(mut self) -> anyhow::Result<Vec<String>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.lines.by_ref().collect::<Result<_, _>>()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
