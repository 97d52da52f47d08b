//! The leader of a cluster dies, again and again, while everybody writes.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use turnkeep_repo::{AsyncRepo, ConversationTurn, Repo, Seq, TaskId};
use turnkeep_test_postgres::Cluster;

use super::persistent::append;
use crate::support::{contents, save_task};

/// Four threads that share a `Repo`, one with a future at a time, and a process. Each two of them
/// write to the same task.
const WRITERS: usize = 6;
const TASKS: usize = 3;

/// Longer than any of it takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The acknowledged turns, shared by all threads.
#[derive(Default)]
struct Ledger {
    entries: Mutex<Entries>,
    news: Condvar,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct Entries {
    /// Task, seq and content.
    turns: Vec<(usize, Seq, String)>,
    /// How many of each writer.
    by_writer: [u64; WRITERS],
    failure: Option<String>,
}

impl Ledger {
    /// Notes a message of a writer, which is its next one.
    fn note(&self, writer: usize, seq: Seq, number: u64) {
        let mut entries = self.entries.lock().unwrap();
        entries.by_writer[writer] += 1;
        assert_eq!(entries.by_writer[writer], number);
        let content = format!("w{writer}-{number}");
        entries.turns.push((writer % TASKS, seq, content));
        self.news.notify_all();
    }

    /// Writes messages of one writer until the ledger is closed.
    fn keep(&self, writer: usize, mut save: impl FnMut(u64) -> anyhow::Result<Seq>) {
        for number in 1.. {
            if self.is_closed.load(Ordering::Relaxed) {
                break;
            }
            match save(number) {
                Ok(seq) => self.note(writer, seq, number),
                Err(error) => return self.fail(writer, &error),
            }
        }
    }

    fn fail(&self, writer: usize, error: &anyhow::Error) {
        self.entries.lock().unwrap().failure = Some(format!("writer {writer}: {error:?}"));
        self.news.notify_all();
    }

    /// Waits until every writer has got further by so many messages.
    fn wait_for(&self, messages: u64) {
        let begun = Instant::now();
        let mut entries = self.entries.lock().unwrap();
        let goal = entries.by_writer.map(|number| number + messages);
        loop {
            assert_eq!(entries.failure, None);
            let is_there = |writer: usize| entries.by_writer[writer] >= goal[writer];
            if (0..WRITERS).all(is_there) {
                break;
            }
            let left = LIMIT.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("{:?} of {goal:?}", entries.by_writer));
            entries = self.news.wait_timeout(entries, left).unwrap().0;
        }
    }

    /// Every acknowledged turn is there, once, in the order of its writer.
    fn check(&self, repo: &Repo, tasks: &[TaskId]) -> anyhow::Result<()> {
        let acknowledged = self.entries.lock().unwrap().turns.clone();
        for (index, task) in tasks.iter().enumerate() {
            // Without a gap, which this looks at. Some of them are not yet in the ledger.
            let stored = contents(repo, task)?;
            for (_, seq, content) in acknowledged.iter().filter(|(task, ..)| *task == index) {
                let at_seq = usize::try_from(seq.get() - 1)
                    .ok()
                    .and_then(|at| stored.get(at));
                assert_eq!(at_seq, Some(content), "seq {seq} of {task}");
            }
            let distinct: HashSet<_> = stored.iter().collect();
            assert_eq!(distinct.len(), stored.len(), "nothing is there twice");
            for writer in (index..WRITERS).step_by(TASKS) {
                let numbers = stored
                    .iter()
                    .filter_map(|content| content.strip_prefix(&format!("w{writer}-")))
                    .map(|number| number.parse::<u64>().expect("a number"));
                let count = numbers.clone().count() as u64;
                assert!(numbers.eq(1..=count), "writer {writer} in order");
            }
        }
        Ok(())
    }
}

/// Ends the writers, in a panic too: the scope would wait for them for ever.
struct Close<'a>(&'a Ledger);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
    }
}

#[test]
fn failovers_lose_no_acknowledged_write() -> anyhow::Result<()> {
    failovers(4)
}

#[test]
#[ignore = "takes a minute; run with `--ignored`"]
fn twenty_failovers_lose_no_acknowledged_write() -> anyhow::Result<()> {
    failovers(20)
}

fn failovers(rounds: u64) -> anyhow::Result<()> {
    let mut cluster = Cluster::start()?;
    let url = cluster.url();
    let repo = Repo::open(&url)?;
    let tasks = (0..TASKS)
        .map(|index| save_task(&repo, &format!("t{index}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let ledger = Ledger::default();
    let follower = Repo::open(&url)?;
    let followed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let _close = Close(&ledger);
        for writer in 0..WRITERS - 2 {
            let (ledger, repo, task) = (&ledger, &repo, &tasks[writer % TASKS]);
            scope.spawn(move || {
                ledger.keep(writer, |number| {
                    append(task, &format!("w{writer}"), number, |task, messages| {
                        repo.save_messages(task, messages)
                    })
                });
            });
        }
        scope.spawn(|| by_future(&ledger, WRITERS - 2, &url, &tasks));
        scope.spawn(|| by_process(&ledger, WRITERS - 1, &url, &tasks));
        // Reads are repeated by the store, and by the caller if that takes too long.
        scope.spawn(|| {
            while !ledger.is_closed.load(Ordering::Relaxed) {
                match repo.count_history(&tasks[0]) {
                    Ok(_) => {}
                    Err(error) if error.is_retryable() => {}
                    Err(error) => return ledger.fail(WRITERS, &error.into()),
                }
            }
        });

        // A follower in another process listens on each new leader.
        scope.spawn(|| {
            while !ledger.is_closed.load(Ordering::Relaxed) {
                let after = followed
                    .lock()
                    .unwrap()
                    .last()
                    .map(|turn: &ConversationTurn| turn.seq);
                let wait = Duration::from_secs(5);
                match follower.wait_for_turns(&tasks[0], after, wait) {
                    Ok(turns) => followed.lock().unwrap().extend(turns),
                    Err(error) if error.is_retryable() => {}
                    Err(error) => return ledger.fail(WRITERS, &error.into()),
                }
            }
        });

        for round in 0..rounds {
            // In the middle of whatever they are doing then.
            ledger.wait_for(1 + round * 7 % 13);
            cluster.kill_leader()?;
            cluster.promote()?;
            ledger.wait_for(3);
            ledger
                .check(&repo, &tasks)
                .with_context(|| format!("round {round}"))?;
            cluster.rebuild_standby()?;
        }
        ledger.wait_for(1);
        anyhow::Ok(())
    })?;
    ledger.check(&repo, &tasks)?;
    let followed = followed.into_inner()?;
    let history = repo.get_history(&tasks[0])?;
    assert!(history.starts_with(&followed), "each turn once, in order");
    assert!(followed.len() > rounds as usize);
    let entries = ledger.entries.lock().unwrap();
    assert_eq!(entries.failure, None);
    let stored: usize = tasks
        .iter()
        .map(|task| Ok(contents(&repo, task)?.len()))
        .sum::<anyhow::Result<usize>>()?;
    assert_eq!(
        stored,
        entries.turns.len(),
        "each was acknowledged in the end"
    );
    Ok(())
}

fn by_future(ledger: &Ledger, writer: usize, url: &str, tasks: &[TaskId]) {
    let run = || {
        let runtime = tokio::runtime::Runtime::new()?;
        let repo = runtime.block_on(AsyncRepo::open(url))?;
        ledger.keep(writer, |number| {
            append(
                &tasks[writer % TASKS],
                &format!("w{writer}"),
                number,
                |task, messages| {
                    let messages = messages.iter().cloned().map(|message| message.into_owned());
                    runtime.block_on(repo.save_messages(task, &messages.collect::<Vec<_>>()))
                },
            )
        });
        anyhow::Ok(())
    };
    if let Err(error) = run() {
        ledger.fail(writer, &error);
    }
}

/// Another process, whose calls wait for so little that they fail during a failover.
fn by_process(ledger: &Ledger, writer: usize, url: &str, tasks: &[TaskId]) {
    let run = || {
        let mut process = Command::new(env!("CARGO_BIN_EXE_turnkeep-test-writer"))
            .args([
                url,
                tasks[writer % TASKS].as_str(),
                &format!("w{writer}"),
                "100",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("no pipe")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            let (seq, number) = line.split_once(' ').context("no two words")?;
            ledger.note(writer, seq.parse()?, number.parse()?);
            if ledger.is_closed.load(Ordering::Relaxed) {
                drop(process.stdin.take());
            }
        }
        let status = process.wait()?;
        anyhow::ensure!(status.success(), "ended with {status}");
        Ok(())
    };
    if let Err(error) = run() {
        ledger.fail(writer, &error);
    }
}
