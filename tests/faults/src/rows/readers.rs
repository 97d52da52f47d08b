//! Overlapping readers do not let the log grow.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use diesel::connection::SimpleConnection;
use turnkeep_repo::{NewMessage, Repo, Role, TaskId};

use crate::driver::{Rounds, Row};
use crate::process::Process;
use crate::{child, store};

pub(crate) const ROW: Row = Row {
    name: "readers",
    holds: "400 MB (CI: 100 MB) appended beside readers that overlap: a log of at most 136 MB",
    // Tests of the store cover the scenarios within one process.
    short: 2,
    full: 4,
    run,
};

/// The maximum length of the log in bytes.
const BOUND: u64 = 136_000_000;

const MESSAGE_BYTES: usize = 100_000;

/// Concurrent readers.
const READERS: usize = 2;

/// The task whose history they read.
const READ: &str = "read";

/// The minimum time of a read, so that reads always overlap. A write waits for a second, in which
/// all of them end even on a busy machine.
const READ_TIME: Duration = Duration::from_millis(50);

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let bytes = match rounds.is_short() {
        true => 100_000_000,
        false => 400_000_000,
    };
    let mut longest = 0;
    for number in 0..rounds.count() {
        rounds.one(number, |_| {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join(store::FILE);
            let log = match number % 4 {
                0 => readers_of_another_process(&path, bytes),
                1 => two_processes_append(&path, bytes),
                2 => readers_of_this_process(&path, bytes, |_| ()),
                _ => a_reader_that_does_not_end(&path, bytes),
            }?;
            longest = longest.max(log);
            store::check(&path)
        });
    }
    rounds.note(format!("longest log {} MB", longest / 1_000_000));
    Ok(())
}

fn readers_of_this_process(
    path: &Path,
    bytes: usize,
    meanwhile: impl FnMut(usize),
) -> anyhow::Result<u64> {
    let repo = open_with_history(path)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = scope.spawn(|| read_until(&repo, &stop));
        let longest = append(&repo, "written", bytes, meanwhile);
        stop.store(true, Ordering::Relaxed);
        match readers.join() {
            Ok(result) => result.and(longest),
            Err(_) => bail!("a reader panicked"),
        }
    })
}

fn readers_of_another_process(path: &Path, bytes: usize) -> anyhow::Result<u64> {
    let repo = open_with_history(path)?;
    let mut readers = Process::start(&["reread", path.to_str().context("a path in UTF-8")?])?;
    ensure!(readers.line()? == "reading", "the readers begin");
    let longest = append(&repo, "written", bytes, |_| ())?;
    readers.finish()?;
    Ok(longest)
}

/// Holds the reader until the log is slightly longer than the size past which it is truncated.
fn a_reader_that_does_not_end(path: &Path, bytes: usize) -> anyhow::Result<u64> {
    drop(open_with_history(path)?);
    let mut reader = store::raw(path)?;
    reader.batch_execute("BEGIN; SELECT count(*) FROM tasks")?;
    let mut reader = Some(reader);
    readers_of_this_process(path, bytes, |done| {
        if done > 66_000_000 {
            reader = None;
        }
    })
}

fn two_processes_append(path: &Path, bytes: usize) -> anyhow::Result<u64> {
    drop(open_with_history(path)?);
    let place = path.to_str().context("a path in UTF-8")?;
    let half = bytes / 2;
    let writer = Process::start(&["append", place, &half.to_string()])?;
    let longest = readers_of_this_process(path, half, |_| ())?;
    let said = writer.finish()?.concat();
    Ok(longest.max(said.parse()?))
}

/// Opens a store with a history that takes `READ_TIME` to read.
fn open_with_history(path: &Path) -> anyhow::Result<Repo> {
    let repo = Repo::open(path)?;
    let task = store::save_task(&repo, READ)?;
    let turns: Vec<_> = (0..1_000)
        .map(|_| NewMessage::new(Role::User, "x".repeat(1_000)))
        .collect();
    loop {
        let start = Instant::now();
        repo.get_history(&task)?;
        if start.elapsed() > READ_TIME {
            return Ok(repo);
        }
        repo.save_messages(&task, &turns)?;
    }
}

/// Reads until standard input ends.
pub(crate) fn reread(path: &str) -> anyhow::Result<()> {
    let repo = Repo::open(Path::new(path))?;
    child::say("reading")?;
    read_until(&repo, &child::input_has_ended())
}

fn read_until(repo: &Repo, stop: &AtomicBool) -> anyhow::Result<()> {
    let task = TaskId::new(READ)?;
    thread::scope(|scope| {
        let read = || -> anyhow::Result<()> {
            while !stop.load(Ordering::Relaxed) {
                repo.get_history(&task)?;
            }
            Ok(())
        };
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        readers
            .into_iter()
            .try_for_each(|reader| match reader.join() {
                Ok(result) => result,
                Err(_) => bail!("a reader panicked"),
            })
    })
}

/// Appends in one of two processes and prints the longest size of the log.
pub(crate) fn append_beside(path: &str, bytes: usize) -> anyhow::Result<()> {
    let repo = Repo::open(Path::new(path))?;
    Ok(child::say(append(&repo, "also written", bytes, |_| ())?)?)
}

/// Appends and returns the longest size of the log.
fn append(
    repo: &Repo,
    task: &str,
    bytes: usize,
    mut meanwhile: impl FnMut(usize),
) -> anyhow::Result<u64> {
    let task = store::save_task(repo, task)?;
    let content = "x".repeat(MESSAGE_BYTES);
    let mut longest = 0;
    for number in 0..bytes / MESSAGE_BYTES {
        repo.save_message(&task, Role::Assistant, &content)?;
        longest = longest.max(repo.stats().wal_bytes);
        ensure!(longest <= BOUND, "the log grew to {longest} bytes");
        meanwhile(number * MESSAGE_BYTES);
    }
    Ok(longest)
}
