//! Processes killed while they upgrade or create a store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use fastrand::Rng;
use turnkeep_repo::{Repo, Role};

use crate::driver::{Rounds, Row};
use crate::dying::die_at;
use crate::process::Process;
use crate::{child, sample, store};

pub(crate) const ROW: Row = Row {
    name: "upgrade",
    holds: "opening each released schema is killed: the complete old or new store",
    short: 10,
    full: 100,
    run,
};

/// A store of each released schema. `README.md` describes how they were made.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let mut fixtures: Vec<Option<PathBuf>> = fs::read_dir(FIXTURES)?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().is_ok_and(|path| is_database(path)))
        .map(|path: std::io::Result<PathBuf>| path.map(Some))
        .collect::<Result<_, _>>()?;
    ensure!(!fixtures.is_empty(), "no stores in {FIXTURES}");
    fixtures.sort();
    // No file: the schema is created.
    fixtures.push(None);
    rounds.note(format!("{} released schemas", fixtures.len() - 1));
    let expected = expected()?;
    let mut kills = 0;
    rounds.each(|number, rng| {
        let fixture = &fixtures[usize::try_from(number)? % fixtures.len()];
        kills += kill_on_the_way(fixture.as_deref(), &expected, rng)?;
        Ok(())
    });
    rounds.note(format!("{kills} processes killed"));
    Ok(())
}

fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "db")
}

/// Returns the contents of each store.
fn expected() -> anyhow::Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    texts(&sample::make(&folder.path().join(store::FILE))?)
}

fn texts(repo: &Repo) -> anyhow::Result<Vec<String>> {
    sample::reads(repo)
        .into_iter()
        .map(|(name, read)| {
            read.with_context(|| name.clone())
                .map(|text| format!("{name}: {text}"))
        })
        .collect()
}

/// Kills up to three openings at random calls, then opens. Returns the number of killed processes.
fn kill_on_the_way(
    fixture: Option<&Path>,
    expected: &[String],
    rng: &mut Rng,
) -> anyhow::Result<usize> {
    // The number of calls of an opening.
    let calls = in_copy(fixture, |folder, _| {
        let lines = Process::start(&["upgrade", folder, "0"])?.finish()?;
        Ok(lines.last().context("a number")?.parse::<u64>()?)
    })?;
    ensure!(calls > 0, "nothing was seen");
    in_copy(fixture, |folder, path| {
        let mut kills = 0;
        for _ in 0..rng.usize(1..=3) {
            let at = rng.u64(1..=calls).to_string();
            let ended = Process::start(&["upgrade", folder, &at])?
                .end()?
                .or_killed()?;
            kills += usize::from(!ended.status.success());
        }
        let repo = Repo::open(path).context("opening afterwards")?;
        match fixture {
            Some(_) => ensure!(texts(&repo)? == expected, "another content than before"),
            None => ensure!(repo.get_tasks()?.is_empty(), "something from nothing"),
        }
        let task = store::save_task(&repo, "after")?;
        repo.save_message(&task, Role::User, "it goes on")?;
        drop(repo);
        store::check(path)?;
        Ok(kills)
    })
}

fn in_copy<T>(
    fixture: Option<&Path>,
    work: impl FnOnce(&str, &Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(store::FILE);
    if let Some(fixture) = fixture {
        fs::copy(fixture, &path)?;
    }
    work(folder.path().to_str().context("a path in UTF-8")?, &path)
}

/// Opens the store and dies at the `at`-th call. Prints the number of calls.
pub(crate) fn upgrade(folder: &str, at: u64) -> anyhow::Result<()> {
    let folder = Path::new(folder);
    let seen = die_at(at, folder);
    drop(Repo::open(folder.join(store::FILE))?);
    Ok(child::say(seen.load(Ordering::Relaxed))?)
}

/// Makes the fixture of the current schema.
pub(crate) fn make_fixture(path: &str) -> anyhow::Result<()> {
    let path = Path::new(path);
    ensure!(!path.exists(), "there is one already");
    drop(sample::make(path)?);
    Ok(())
}
