//! A changed byte in the file or its log.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, ensure};
use fastrand::Rng;
use turnkeep_repo::{Repo, Result};

use crate::driver::{Rounds, Row};
use crate::process::Process;
use crate::{child, sample, store};

pub(crate) const ROW: Row = Row {
    name: "damage",
    holds: "one byte of the file changed: no panic, no hang; a check finds every changed read",
    short: 60,
    full: 400,
    run,
};

/// A closed store, and a store whose last writes are in the log.
struct Whole {
    closed: Vec<u8>,
    crashed: (Vec<u8>, Vec<u8>),
    /// The result of each read.
    reads: BTreeMap<String, String>,
}

impl Whole {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(store::FILE);
        let log = folder.path().join("store.db-wal");
        let repo = sample::make(&path)?;
        let crashed = (fs::read(&path)?, fs::read(&log)?);
        let mut reads = BTreeMap::new();
        for (name, read) in sample::reads(&repo) {
            reads.insert(name, said(read));
        }
        drop(repo);
        Ok(Self {
            closed: fs::read(&path)?,
            crashed,
            reads,
        })
    }
}

/// Returns the result of a read as a word without spaces.
fn said(read: Result<String>) -> String {
    match read {
        Ok(text) => {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            format!("ok {:x}", hasher.finish())
        }
        Err(error) => {
            let shown = format!("{:?}", error.kind());
            format!("error {}", shown.split(' ').next().unwrap_or_default())
        }
    }
}

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let whole = Whole::new()?;
    let (mut right, mut refused, mut found, mut tails) = (0, 0, 0, 0);
    rounds.each(|number, rng| {
        let with_log = number % 4 == 3;
        match change_one(&whole, with_log, rng)? {
            CameTo::Right => right += 1,
            CameTo::Error => refused += 1,
            CameTo::Found => found += 1,
            CameTo::Unfound => tails += 1,
        }
        Ok(())
    });
    rounds.note(format!("{right} read right, {refused} with typed errors"));
    rounds.note(format!(
        "{found} differently, all of which a check finds, {tails} a log without its tail"
    ));
    Ok(())
}

/// The outcome of reading a damaged store.
enum CameTo {
    Right,
    Error,
    /// A read differs, and a check finds the damage.
    Found,
    /// A read differs, and the check finds no damage: for SQLite the log ends at the first frame
    /// with a wrong checksum.
    Unfound,
}

fn change_one(whole: &Whole, with_log: bool, rng: &mut Rng) -> anyhow::Result<CameTo> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(store::FILE);
    let (mut file, mut log) = match with_log {
        true => whole.crashed.clone(),
        false => (whole.closed.clone(), Vec::new()),
    };
    let place = rng.usize(..file.len() + log.len());
    let length = file.len();
    let is_in_log = place >= length;
    let changed = file
        .get_mut(place)
        .unwrap_or_else(|| &mut log[place - length]);
    *changed ^= rng.u8(1..);
    write(&path, &file)?;
    if with_log {
        write(&folder.path().join("store.db-wal"), &log)?;
    }
    let reading = Process::start(&["read", path.to_str().context("a path in UTF-8")?])?;
    let lines = reading.finish().with_context(|| format!("byte {place}"))?;
    let (mut is_found, mut has_error, mut differs) = (false, false, false);
    for line in &lines {
        let (name, said) = line.split_once(' ').context("a read and what it says")?;
        let expected = whole.reads.get(name);
        if name == CHECK {
            is_found = said != "ok";
        } else if said.starts_with("error ") {
            has_error = true;
        } else if expected.is_some_and(|expected| expected != said) {
            differs = true;
        }
    }
    ensure!(!lines.is_empty(), "nothing was read");
    ensure!(
        !differs || is_found || is_in_log,
        "byte {place}: something else is read, and no check finds it"
    );
    Ok(match (differs, has_error) {
        (true, _) if is_found => CameTo::Found,
        (true, _) => CameTo::Unfound,
        (_, true) => CameTo::Error,
        _ => CameTo::Right,
    })
}

/// Uses the file mode of the store, since a check reports any other.
pub(crate) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Prefix of the line with the result of a check.
const CHECK: &str = "check";

/// Reads everything, runs a check and then writes, ignoring errors.
pub(crate) fn read(path: &str) -> anyhow::Result<()> {
    let check = turnkeep_admin::check_unopened(Repo::builder(path));
    let is_ok = check.is_ok_and(|report| report.is_ok());
    child::say(format_args!(
        "{CHECK} {}",
        if is_ok { "ok" } else { "found" }
    ))?;
    let repo = match Repo::open(Path::new(path)) {
        Ok(repo) => repo,
        Err(error) => {
            child::say(format_args!("open {}", said(Err(error))))?;
            return Ok(());
        }
    };
    for (name, read) in sample::reads(&repo) {
        child::say(format_args!("{name} {}", said(read)))?;
    }
    for (name, write) in sample::writes(&repo) {
        child::say(format_args!("{name} {}", said(write)))?;
    }
    Ok(())
}
