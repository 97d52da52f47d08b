//! A lock held by another process, and sixteen processes that open a missing file.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use diesel::connection::SimpleConnection;
use turnkeep_repo::{ErrorKind, Repo, Role};

use crate::driver::{Rounds, Row};
use crate::process::Process;
use crate::{child, store};

pub(crate) const ROW: Row = Row {
    name: "locks",
    holds: "a lock held for 1, 4, 10 s: waited for up to the deadline, then busy; 16 create one store",
    short: 6,
    full: 23,
    run,
};

/// Seconds for which the lock is held.
const HOLDS: [u64; 3] = [1, 4, 10];

/// The default timeout of a call.
const DEADLINE: Duration = Duration::from_secs(5);

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let mut latest = Duration::ZERO;
    // CI skips the hold of ten seconds.
    let holds = if rounds.is_short() { 2 } else { HOLDS.len() };
    let count = rounds.count();
    for number in 0..count {
        rounds.one(number, |_| match HOLDS[..holds].get(number as usize) {
            Some(seconds) => {
                latest = latest.max(hold_for(Duration::from_secs(*seconds))?);
                Ok(())
            }
            None => sixteen_open(),
        });
    }
    if holds == HOLDS.len() {
        rounds.note(format!("busy after {latest:.2?} of {DEADLINE:?}"));
    }
    Ok(())
}

/// Holds the lock in another process and returns the longest wait that ended with `Busy`.
fn hold_for(time: Duration) -> anyhow::Result<Duration> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(store::FILE);
    let place = path.to_str().context("a path in UTF-8")?;
    let repo = Repo::open(&path)?;
    let task = store::save_task(&repo, "t")?;
    let mut holder = Process::start(&["hold", place, &time.as_millis().to_string()])?;
    ensure!(holder.line()? == "held", "the lock is taken");
    let waits = thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let start = Instant::now();
                    (repo.save_message(&task, Role::User, "x"), start.elapsed())
                })
            })
            .collect();
        // Reading and opening must not wait.
        let reading = repo.count_history(&task).and_then(|_| Repo::open(&path));
        reading.context("meanwhile")?;
        ensure!(holder.has_said_nothing(), "readers waited for the lock");
        let joined = waiting.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => Ok(outcome),
            Err(_) => bail!("a writer panicked"),
        });
        joined.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut longest = Duration::ZERO;
    let mut stored = 0;
    for (outcome, waited) in waits {
        match outcome {
            Ok(_) => stored += 1,
            Err(error) if matches!(error.kind(), ErrorKind::Busy { .. }) => {
                ensure!(waited >= DEADLINE, "busy after {waited:?}");
                ensure!(holder.has_said_nothing(), "the deadline was slept through");
                longest = longest.max(waited);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let is_long = time > DEADLINE;
    ensure!(
        stored == if is_long { 0 } else { 4 },
        "{stored} of 4 were stored"
    );
    holder.finish()?;
    ensure!(
        repo.count_history(&task)? == stored,
        "what is busy is not stored"
    );
    repo.save_message(&task, Role::User, "it goes on")?;
    Ok(longest)
}

/// Holds the write lock for a while.
pub(crate) fn hold(path: &str, millis: u64) -> anyhow::Result<()> {
    let mut conn = store::raw(Path::new(path))?;
    conn.batch_execute("BEGIN IMMEDIATE")?;
    child::say("held")?;
    thread::sleep(Duration::from_millis(millis));
    child::say("lets go")?;
    Ok(conn.batch_execute("COMMIT")?)
}

fn sixteen_open() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("new/folder").join(store::FILE);
    let place = path.to_str().context("a path in UTF-8")?;
    let mut processes = (0..16)
        .map(|_| Process::start(&["open", place]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    processes.iter_mut().for_each(Process::go);
    for process in processes {
        let said = process.finish()?;
        ensure!(said == ["opened"], "{said:?}");
    }
    let repo = Repo::open(&path)?;
    ensure!(store::contents(&repo, &store::save_task(&repo, "t")?)?.len() == 16);
    drop(repo);
    store::check(&path)
}

/// Opens the store when standard input ends, together with fifteen others.
pub(crate) fn open(path: &str) -> anyhow::Result<()> {
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new())?;
    let repo = Repo::open(path)?;
    let task = store::save_task(&repo, "t")?;
    repo.save_message(&task, Role::User, "here")?;
    Ok(child::say("opened")?)
}
