//! Processes killed while they create, open and write a store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fastrand::Rng;
use turnkeep_repo::{BackendType, NewSession, Repo, Role, SessionId, TaskId};

use crate::child;
use crate::driver::{Rounds, Row};
use crate::process::Process;
use crate::store;

pub(crate) const ROW: Row = Row {
    name: "kill",
    holds: "kill -9: every acknowledged write is there, once, in order; the store is sound",
    short: 50,
    full: 1_000,
    run,
};

const PROCESSES: usize = 4;
const THREADS: usize = 4;

/// The maximum time to reopen a store, whatever its log contains.
const LONGEST_REOPEN: Duration = Duration::from_secs(1);

/// The tasks that all processes write to.
const SHARED: [&str; 2] = ["a", "b"];

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let mut longest = Duration::ZERO;
    let (mut kills, mut acknowledged) = (0, 0);
    rounds.each(|_, rng| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(store::FILE);
        let mut told = Acknowledged::default();
        // The first generation creates the store; the later ones recover it.
        for generation in 0..rng.usize(1..=3) {
            kills += crowd(&path, generation, rng, &mut told)?;
            let start = Instant::now();
            let repo = Repo::open(&path).context("reopening")?;
            repo.get_tasks()?;
            let reopen = start.elapsed();
            ensure!(reopen < LONGEST_REOPEN, "reopening took {reopen:?}");
            longest = longest.max(reopen);
            told.compare(&repo)?;
            drop(repo);
            store::check(&path)?;
        }
        acknowledged += told.writes();
        Ok(())
    });
    rounds.note(format!("{kills} processes killed"));
    rounds.note(format!("{acknowledged} writes acknowledged"));
    rounds.note(format!("longest reopen {longest:.1?}"));
    Ok(())
}

/// Lets processes write, kills some and records the output of all. Returns the number of killed
/// processes.
fn crowd(
    path: &Path,
    generation: usize,
    rng: &mut Rng,
    told: &mut Acknowledged,
) -> anyhow::Result<usize> {
    let path = path.to_str().context("a path in UTF-8")?;
    let mut processes = Vec::new();
    for number in 0..PROCESSES {
        let name = format!("g{generation}p{number}");
        let seed = rng.u64(..).to_string();
        processes.push(Process::start(&["write", path, &name, &seed])?);
    }
    let victims = kill_some(&mut processes, rng)?;
    for process in &mut processes {
        process.go();
    }
    for (number, process) in processes.into_iter().enumerate() {
        let ended = process.end()?.or_killed()?;
        ensure!(
            victims.contains(&number) || ended.status.success(),
            "a process ended with {} without being killed",
            ended.status
        );
        for line in &ended.lines {
            told.note(line)?;
        }
    }
    Ok(victims.len())
}

/// Kills at least one process, each at a random moment; half of them while they open the store.
fn kill_some(processes: &mut [Process], rng: &mut Rng) -> anyhow::Result<Vec<usize>> {
    let mut numbers: Vec<usize> = (0..processes.len()).collect();
    rng.shuffle(&mut numbers);
    numbers.truncate(rng.usize(1..=processes.len()));
    let start = Instant::now();
    let mut moments: Vec<(Duration, usize)> = numbers
        .iter()
        .map(|number| {
            let latest = if rng.bool() { 15_000 } else { 120_000 };
            (Duration::from_micros(rng.u64(0..latest)), *number)
        })
        .collect();
    moments.sort_unstable();
    for (moment, number) in moments {
        thread::sleep(moment.saturating_sub(start.elapsed()));
        processes[number].kill()?;
    }
    Ok(numbers)
}

/// Returns the unique text of a message in a shared task.
fn text(writer: &str, number: u64, length: usize) -> String {
    format!("{writer} {number} {}", "x".repeat(length))
}

/// Opens the store and writes with several threads until standard input ends.
pub(crate) fn write(path: &str, name: &str, seed: u64) -> anyhow::Result<()> {
    let ended = child::input_has_ended();
    let repo = Repo::open(path)?;
    let shared = SHARED
        .iter()
        .map(|task| store::save_task(&repo, task))
        .collect::<anyhow::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let writer = format!("{name}t{number}");
                let rng = Rng::with_seed(seed.wrapping_add(number as u64));
                let (repo, shared, ended) = (&repo, &shared, &ended);
                scope.spawn(move || write_as(repo, shared, &writer, rng, ended))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|_| bail!("a writer panicked"))
        })
    })
}

fn write_as(
    repo: &Repo,
    shared: &[TaskId],
    writer: &str,
    mut rng: Rng,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let own = store::save_task(repo, writer)?;
    let mut bindings = 0;
    for number in 1.. {
        if rng.u8(..8) == 0 {
            bindings += 1;
            let id = SessionId::new(bindings.to_string())?;
            repo.save_session(&own, &NewSession::new(BackendType::Claude, id))?;
            child::say(format_args!("bound {writer} {bindings}"))?;
        }
        // Mostly short, sometimes over many pages.
        let length = if rng.u8(..16) == 0 { 100_000 } else { 500 };
        let length = rng.usize(..length);
        let task = &shared[rng.usize(..shared.len())];
        let seq = repo.save_message(task, Role::User, &text(writer, number, length))?;
        child::say(format_args!("said {task} {seq} {writer} {number} {length}"))?;
        if ended.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// The acknowledged writes of all processes.
#[derive(Debug, Default)]
struct Acknowledged {
    /// By task and seq.
    messages: BTreeMap<(String, usize), String>,
    /// The number of messages by writer.
    last_message: BTreeMap<String, u64>,
    last_binding: BTreeMap<String, u64>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["bound", writer, number] => {
                self.last_binding.insert(writer.into(), number.parse()?);
            }
            ["said", task, seq, writer, number, length] => {
                let number = number.parse()?;
                let text = text(writer, number, length.parse()?);
                let twin = self.messages.insert((task.into(), seq.parse()?), text);
                ensure!(twin.is_none(), "seq {seq} of `{task}` was given out twice");
                self.last_message.insert(writer.into(), number);
            }
            _ => bail!("a process said `{line}`"),
        }
        Ok(())
    }

    fn writes(&self) -> u64 {
        self.last_message.values().sum::<u64>() + self.last_binding.values().sum::<u64>()
    }

    /// Compares the acknowledged writes with the store.
    fn compare(&self, repo: &Repo) -> anyhow::Result<()> {
        // The loop over the tasks below would miss a task that is gone.
        for writer in self.last_binding.keys() {
            let task = repo.get_task(&TaskId::new(writer.as_str())?);
            task.with_context(|| format!("{writer} was told of bindings"))?;
        }
        let mut by_writer: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for task in repo.get_tasks()? {
            let is_shared = SHARED.contains(&task.id.as_str());
            if is_shared {
                self.compare_messages(repo, &task.id, &mut by_writer)?;
            } else {
                self.compare_bindings(repo, &task.id)?;
            }
        }
        for (writer, last) in &self.last_message {
            let mut stored = by_writer.remove(writer).unwrap_or_default();
            stored.sort_unstable();
            // The write in progress at the kill may be stored or not.
            let is_whole = stored.iter().copied().eq(1..=stored.len() as u64);
            let count = stored.len() as u64;
            ensure!(
                is_whole && (count == *last || count == last + 1),
                "{writer} was told of {last}, stored are {stored:?}"
            );
        }
        for (writer, stored) in by_writer {
            ensure!(
                stored == [1],
                "{writer} was told nothing, stored are {stored:?}"
            );
        }
        Ok(())
    }

    fn compare_messages(
        &self,
        repo: &Repo,
        task: &TaskId,
        by_writer: &mut BTreeMap<String, Vec<u64>>,
    ) -> anyhow::Result<()> {
        let stored = store::contents(repo, task)?;
        let first = (task.to_string(), 0);
        let told = self.messages.range(first..);
        for ((_, seq), text) in told.take_while(|((of, _), _)| of == task.as_str()) {
            let found = stored.get(seq - 1);
            ensure!(
                found == Some(text),
                "turn {seq} of `{task}` is another or gone"
            );
        }
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for text in &stored {
            let mut words = text.split(' ');
            let writer = words.next().context("a writer")?;
            let number: u64 = words.next().context("a number")?.parse()?;
            let before = last.insert(writer, number).unwrap_or(0);
            ensure!(before < number, "{writer}: {number} stands after {before}");
            by_writer.entry(writer.into()).or_default().push(number);
        }
        Ok(())
    }

    fn compare_bindings(&self, repo: &Repo, task: &TaskId) -> anyhow::Result<()> {
        let last = self.last_binding.get(task.as_str()).copied().unwrap_or(0);
        let stored: Vec<String> = repo
            .list_session_revisions(task)?
            .iter()
            .map(|revision| revision.session_id.to_string())
            .collect();
        let count = stored.len() as u64;
        let is_whole = stored.iter().eq((1..=count)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .iter());
        ensure!(
            is_whole && (count == last || count == last + 1),
            "{task} was told of {last} bindings, stored are {stored:?}"
        );
        let current = repo.find_session(task)?;
        let current = current.map(|session| session.session_id.to_string());
        ensure!(
            current.as_ref() == stored.last(),
            "{task} is bound to {current:?}, its last revision is {:?}",
            stored.last()
        );
        Ok(())
    }
}
