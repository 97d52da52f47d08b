//! A full disk and a read-only disk, both real.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use turnkeep_repo::{Error, ErrorKind, Repo, Role, TaskId};

use crate::driver::{Rounds, Row};
use crate::mount::{MOUNTED, Way};
use crate::process::{self, Process};
use crate::{child, store};

pub(crate) const ROW: Row = Row {
    name: "space",
    holds: "a full or read-only disk: typed error, history readable, continues once there is space",
    short: 4,
    full: 4,
    run,
};

/// The sizes of the disks in KiB.
const SIZES: [u32; 4] = [600, 1_000, 2_000, 5_000];

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    if rounds.is_without("mount") {
        rounds.note("NOT RUN, as told by --without mount");
        return Ok(());
    }
    let way = Way::find()?;
    rounds.each(|number, _| {
        let size = SIZES[usize::try_from(number)? % SIZES.len()];
        let mut filling = process::command(&["fill"])?;
        filling.arg(MOUNTED).arg(size.to_string());
        let ended = Process::spawn(on_small_disk(way, size, filling))?.finish()?;
        ensure!(
            ended.last().is_some_and(|line| line == "went on"),
            "{ended:?}"
        );
        Ok(())
    });
    rounds.note(way.name());
    Ok(())
}

/// Returns `command`, run with a disk of `size` KiB.
fn on_small_disk(way: Way, size: u32, command: Command) -> Command {
    let mount = format!("mount -t tmpfs -o size={size}k turnkeep-faults {MOUNTED}");
    way.after(&mount, command)
}

/// Fills the disk with a store, frees space and continues; then makes the disk read-only for a
/// while.
pub(crate) fn fill(folder: &str, kib: usize) -> anyhow::Result<()> {
    let folder = Path::new(folder);
    let ballast = folder.join("ballast");
    let path = folder.join(store::FILE);
    // Closing checkpoints the log into the file, which needs space as well.
    fs::write(&ballast, vec![1; kib * 1_024 / 2])?;
    let repo = Repo::open(&path).context("opening")?;
    let task = store::save_task(&repo, "t")?;
    let mut acknowledged: Vec<String> = Vec::new();
    let error = loop {
        let text = format!("{} {}", acknowledged.len(), "x".repeat(3_000));
        match repo.save_message(&task, Role::User, &text) {
            Ok(_) => acknowledged.push(text),
            Err(error) => break error,
        }
    };
    expect_full(&error)?;
    let again = repo.save_message(&task, Role::User, &"y".repeat(100_000));
    expect_full(&again.err().context("there is no room for that")?)?;
    ensure!(
        store::contents(&repo, &task)? == acknowledged,
        "all there while full"
    );
    drop(repo);
    // A closed store opens or fails with an honest error.
    match Repo::open(&path) {
        Ok(repo) => ensure!(store::contents(&repo, &task)? == acknowledged),
        Err(error) => expect_full(&error)?,
    }

    fs::remove_file(&ballast)?;
    let repo = Repo::open(&path).context("opening with room")?;
    go_on(&repo, &task, &mut acknowledged)?;
    drop(repo);
    store::check(&path)?;

    remount(folder, "ro")?;
    let repo = Repo::open(&path).context("opening to read")?;
    let refused = repo.save_message(&task, Role::User, "z");
    let error = refused.err().context("nothing can be written")?;
    ensure!(matches!(error.kind(), ErrorKind::ReadOnly), "{error:?}");
    ensure!(store::contents(&repo, &task)? == acknowledged, "all there");
    drop(repo);
    remount(folder, "rw")?;
    go_on(&Repo::open(&path)?, &task, &mut acknowledged)?;
    Ok(child::say("went on")?)
}

fn go_on(repo: &Repo, task: &TaskId, acknowledged: &mut Vec<String>) -> anyhow::Result<()> {
    repo.save_message(task, Role::User, "it goes on")?;
    acknowledged.push("it goes on".into());
    ensure!(store::contents(repo, task)? == *acknowledged, "all there");
    Ok(())
}

/// A full disk is reported as `Full`, or as `Io` where SQLite does not distinguish them.
fn expect_full(error: &Error) -> anyhow::Result<()> {
    ensure!(
        matches!(error.kind(), ErrorKind::Full | ErrorKind::Io),
        "{error:?}"
    );
    Ok(())
}

fn remount(folder: &Path, how: &str) -> anyhow::Result<()> {
    let mut mount = Command::new("mount");
    let mount = mount.args(["-o", &format!("remount,{how}")]).arg(folder);
    let output = mount.output()?;
    ensure!(output.status.success(), "remount,{how}: {output:?}");
    Ok(())
}
