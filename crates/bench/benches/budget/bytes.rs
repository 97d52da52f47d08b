//! Bytes per append: written to the disk, and kept in the file.

use std::fs;

use anyhow::{Context as _, Result};
use turnkeep_repo::{Durability, NewTask, Role};

use crate::budgets::Measured;
use crate::fixture::{Fixture, ensure_whole, open};

/// Enough for some checkpoints.
const APPENDS: u32 = 1000;

/// Appends turns of 1 KiB one by one, each durable, to a store that has been closed, and closes it. Closing
/// runs the last checkpoint, so every page is written to both files wherever the other checkpoints happen.
pub(crate) fn measure(fixture: &Fixture, measured: &mut Measured) -> Result<()> {
    let file = fixture.file("appends.db");
    let data = &fixture.data;
    let repo = open(&file, Durability::Full)?;
    for task in data.speaking_tasks() {
        repo.save_task(&NewTask::new(task.clone(), "Refactor the login"))?;
    }
    drop(repo);
    ensure_whole(&file)?;
    let without_turns = fs::metadata(&file)?.len();
    let repo = open(&file, Durability::Full)?;
    let before = written_by_this_process()?;
    for index in 0..APPENDS {
        let task = data.speaking_task(usize::try_from(index)?);
        repo.save_message(task, Role::Assistant, &data.content)?;
    }
    drop(repo);
    let written = written_by_this_process()? - before;
    ensure_whole(&file)?;
    let grown = fs::metadata(&file)?.len() - without_turns;
    let per_append = |bytes: u64| bytes as f64 / f64::from(APPENDS);
    measured.push("append of 1 KiB: bytes written", per_append(written));
    measured.push("turn of 1 KiB: growth of the file", per_append(grown));
    measured.push(
        "16 tasks without turns: bytes of the file",
        without_turns as f64,
    );
    Ok(())
}

/// Returns how many bytes this process has passed to `write` and similar calls. Writes through the
/// memory map of `-shm` do not count.
fn written_by_this_process() -> Result<u64> {
    let counters = fs::read_to_string("/proc/self/io").context("Linux is needed to count bytes")?;
    let written = counters
        .lines()
        .find_map(|line| line.strip_prefix("wchar: "))
        .context("the system does not count written bytes")?;
    Ok(written.trim().parse()?)
}
