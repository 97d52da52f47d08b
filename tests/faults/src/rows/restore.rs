//! A backup is restored over a store whose process was killed. The restore is killed or loses the
//! power.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use fastrand::Rng;
use turnkeep_repo::{ErrorKind, Repo, Role};

use crate::driver::{Rounds, Row};
use crate::dying::die_at;
use crate::image::Disk;
use crate::interpose;
use crate::process::Process;
use crate::recording::{self, Event};
use crate::{child, store};

pub(crate) const ROW: Row = Row {
    name: "restore",
    holds: "restore killed or without power: the complete old or new store, or a typed error; no loss",
    short: 40,
    full: 2_000,
    run,
};

const BACKUP: &str = "backup.db";
const TASK: &str = "t";
const OLD_TURNS: usize = 40;

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let recordings = ["true", "false"].map(Recorded::new);
    let [first, second] = recordings;
    let recordings = [first?, second?];
    let calls = in_scene(|folder, _| {
        let lines = Process::start(&["restore", folder, "0"])?.finish()?;
        Ok(lines.last().context("a number")?.parse::<u64>()?)
    })?;
    ensure!(calls > 0, "nothing was seen");
    let mut seen = Seen::default();
    rounds.each(|number, rng| match number % 2 {
        0 => kill_on_the_way(calls, rng, &mut seen),
        _ => recordings[usize::try_from(number / 2 % 2)?].crash(rng, &mut seen),
    });
    rounds.note(format!(
        "{} processes killed; the old store {}, refused {}, the new one {}",
        seen.killed, seen.old, seen.refused, seen.new
    ));
    Ok(())
}

/// The counts of each outcome.
#[derive(Debug, Default)]
struct Seen {
    killed: u64,
    old: u64,
    refused: u64,
    new: u64,
}

/// Makes a backup, and a store of a killed process whose log holds everything.
fn in_scene<T>(work: impl FnOnce(&str, &Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let place = store::folder_in_memory()?;
    let folder = place.path().to_str().context("a path in UTF-8")?;
    let made = Process::start(&["restorable", folder])?
        .end()?
        .or_killed()?;
    ensure!(!made.status.success(), "its log must be left");
    work(folder, place.path())
}

/// Makes the backup and the store to replace, and dies.
pub(crate) fn make(folder: &str) -> anyhow::Result<()> {
    let folder = Path::new(folder);
    let repo = Repo::open(folder.join("another.db"))?;
    let task = store::save_task(&repo, TASK)?;
    repo.save_message(&task, Role::User, "new")?;
    repo.backup(folder.join(BACKUP))?;
    let repo = Repo::open(folder.join(store::FILE))?;
    let task = store::save_task(&repo, TASK)?;
    for number in 0..OLD_TURNS {
        repo.save_message(&task, Role::User, &old_turn(number))?;
    }
    interpose::die();
    Ok(())
}

fn old_turn(number: usize) -> String {
    format!("old {number} {}", "x".repeat(number * 50))
}

/// Kills up to three restores at random calls.
fn kill_on_the_way(calls: u64, rng: &mut Rng, seen: &mut Seen) -> anyhow::Result<()> {
    in_scene(|folder, path| {
        for _ in 0..rng.usize(1..=3) {
            let at = rng.u64(1..=calls).to_string();
            let restoring = Process::start(&["restore", folder, &at])?;
            let ended = restoring.end()?.or_killed()?;
            seen.killed += u64::from(!ended.status.success());
        }
        look(path, seen)
    })
}

/// Restores and dies at the `at`-th call. Prints the number of calls.
pub(crate) fn restore(folder: &str, at: u64) -> anyhow::Result<()> {
    let folder = Path::new(folder);
    let seen = die_at(at, folder);
    Repo::builder(folder.join(store::FILE)).restore(folder.join(BACKUP))?;
    Ok(child::say(seen.load(Ordering::Relaxed))?)
}

/// A recorded restore, and the disk before it.
struct Recorded {
    folder: PathBuf,
    events: Vec<Event>,
    begin: usize,
}

impl Recorded {
    /// Records a restore, on a file system with or without renaming that replaces nothing.
    fn new(renames: &str) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let folder = place.path().join("disk");
        fs::create_dir(&folder)?;
        let log = place.path().join("recording");
        let (folder_arg, log_arg) = (
            folder.to_str().context("a path in UTF-8")?,
            log.to_str().context("a path in UTF-8")?,
        );
        let record = |what| Process::start(&["record-restore", folder_arg, log_arg, renames, what]);
        let made = record("make")?.end()?.or_killed()?;
        ensure!(!made.status.success(), "its log must be left");
        let begin = recording::read(&log)?.len();
        record("restore")?.finish()?;
        Ok(Self {
            folder,
            events: recording::read(&log)?,
            begin,
        })
    }

    /// Loses the power at a random moment of the restore.
    fn crash(&self, rng: &mut Rng, seen: &mut Seen) -> anyhow::Result<()> {
        let cut = rng.usize(self.begin..=self.events.len());
        let disk = Disk::after(&self.folder, &self.events[..cut])?;
        let image = store::folder_in_memory()?;
        let loss = disk.crash(&self.folder, image.path(), rng)?;
        let last = self.events[..cut].last();
        let is_done = matches!(last, Some(Event::Mark(mark)) if mark == "restored");
        let old = seen.old + seen.refused;
        look(image.path(), seen).with_context(|| {
            let all = self.events.len();
            format!("{loss:?} lost after event {cut} of {}..{all}", self.begin)
        })?;
        ensure!(
            !is_done || old == seen.old + seen.refused,
            "a restore is lost"
        );
        Ok(())
    }
}

/// Runs the recorded processes one after the other.
pub(crate) fn record(folder: &str, log: &str, renames: bool, what: &str) -> anyhow::Result<()> {
    recording::start(Path::new(folder), Path::new(log), renames)?;
    if what == "make" {
        return make(folder);
    }
    let folder = Path::new(folder);
    Repo::builder(folder.join(store::FILE)).restore(folder.join(BACKUP))?;
    recording::mark("restored")
}

/// Opens the store: the complete old or new one, or the error that asks for another restore. Then
/// restores again, after which every old turn is kept somewhere.
fn look(folder: &Path, seen: &mut Seen) -> anyhow::Result<()> {
    let path = folder.join(store::FILE);
    let is_old = match Repo::builder(&path).create_if_missing(false).open() {
        Ok(repo) => {
            let found = turns(&repo)?;
            ensure!(is_new(&found) || is_all_old(&found), "a mixture: {found:?}");
            is_all_old(&found)
        }
        Err(error) if *error.kind() == ErrorKind::RestoreUnfinished => {
            seen.refused += 1;
            Repo::builder(&path).restore(folder.join(BACKUP))?;
            false
        }
        Err(error) => return Err(error).context("opening"),
    };
    store::check(&path)?;
    if is_old {
        seen.old += 1;
        return Ok(());
    }
    seen.new += 1;
    ensure!(is_new(&turns(&Repo::open(&path)?)?), "not the backup");
    ensure!(old_stores(folder)? > 0, "the old store is gone");
    Ok(())
}

fn turns(repo: &Repo) -> anyhow::Result<Vec<String>> {
    let tasks = repo.get_tasks()?;
    ensure!(tasks.len() == 1, "{} tasks", tasks.len());
    store::contents(repo, &tasks[0].id)
}

fn is_new(turns: &[String]) -> bool {
    turns == ["new"]
}

fn is_all_old(turns: &[String]) -> bool {
    turns.len() == OLD_TURNS && (0..OLD_TURNS).map(old_turn).eq(turns.iter().cloned())
}

/// Counts the folders beside the store that hold the complete old one.
fn old_stores(folder: &Path) -> anyhow::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let kept = entry?.path().join(store::FILE);
        if kept.is_file() && is_all_old(&turns(&Repo::open(kept)?)?) {
            found += 1;
        }
    }
    Ok(found)
}
