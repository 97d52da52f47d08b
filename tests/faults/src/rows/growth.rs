//! A process that writes for long and opens often does not grow.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use turnkeep_repo::{Repo, Role, TaskId};

use crate::driver::{Rounds, Row};
use crate::process::Process;
use crate::{child, store};

pub(crate) const ROW: Row = Row {
    name: "growth",
    holds: "10^5 appends and 100 opens (CI: 10^4, 20): no growth of descriptors, threads, memory",
    short: 1,
    full: 1,
    run,
};

const THREADS: u64 = 4;

/// The allowed growth of memory: SQLite's page caches fill up to 2 MiB per connection.
const SLACK_KIB: u64 = 8 * 1_024;

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let (appends, opens) = match rounds.is_short() {
        true => ("10000", "20"),
        false => ("100000", "100"),
    };
    let mut seen = Vec::new();
    rounds.each(|_, _| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(store::FILE);
        let place = path.to_str().context("a path in UTF-8")?;
        seen = Process::start(&["grow", place, appends, opens])?.finish()?;
        Ok(())
    });
    for line in seen {
        rounds.note(line);
    }
    Ok(())
}

/// The resources of this process.
#[derive(Debug, Clone, Copy)]
struct Figures {
    descriptors: usize,
    threads: u64,
    memory_kib: u64,
}

impl Figures {
    fn now() -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let value = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok(word.context("no such figure")?.parse()?)
        };
        Ok(Self {
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            threads: value("Threads:")?,
            memory_kib: value("VmRSS:")?,
        })
    }

    /// Fails if this process has grown.
    fn compare(self, later: Self, what: &str) -> anyhow::Result<()> {
        let grew = later.descriptors > self.descriptors
            || later.threads > self.threads
            || later.memory_kib > self.memory_kib + SLACK_KIB;
        ensure!(!grew, "{what}: from {self:?} to {later:?}");
        let (first, last) = (self.memory_kib, later.memory_kib);
        Ok(child::say(format_args!("{what}: {first} to {last} KiB"))?)
    }
}

/// Writes and opens. Compares the resources after a tenth of the work with those at the end.
pub(crate) fn grow(path: &str, appends: u64, opens: u64) -> anyhow::Result<()> {
    let path = Path::new(path);
    let repo = Repo::open(path)?;
    let task = store::save_task(&repo, "t")?;
    append(&repo, &task, appends / 10)?;
    let warm = Figures::now()?;
    append(&repo, &task, appends - appends / 10)?;
    warm.compare(Figures::now()?, &format!("{appends} appends"))?;
    let stored = u64::try_from(repo.count_history(&task)?)?;
    ensure!(stored == appends, "{stored} of {appends} are there");
    drop(repo);

    open_once(path, &task)?;
    let warm = settled(1)?;
    for _ in 0..opens {
        open_once(path, &task)?;
    }
    let later = settled(warm.threads)?;
    warm.compare(later, &format!("{opens} opens"))
}

fn append(repo: &Repo, task: &TaskId, count: u64) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| -> turnkeep_repo::Result<()> {
                    for _ in 0..count / THREADS {
                        repo.save_message(task, Role::Assistant, "a hundred bytes or so of text")?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => Ok(result?),
                Err(_) => bail!("a writer panicked"),
            })
    })
}

fn open_once(path: &Path, task: &TaskId) -> anyhow::Result<()> {
    let repo = Repo::open(path)?;
    repo.save_message(task, Role::User, "x")?;
    repo.get_history_last(task, 1)?;
    Ok(())
}

/// Waits until at most `threads` threads are left.
fn settled(threads: u64) -> anyhow::Result<Figures> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let figures = Figures::now()?;
        if figures.threads <= threads || Instant::now() > until {
            return Ok(figures);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
