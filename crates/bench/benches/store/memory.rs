//! The memory needed to read a long history.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use turnkeep_repo::{HistoryPage, Repo};

use crate::data::task_id;
use crate::files::temporary_folder;
use crate::plan::Plan;
use crate::side::Side;
use crate::worker::{Job, Worker};
use crate::{fill, report};

const PAGE: u32 = 1_000;

/// Reads the same history at once and in pages, and prints the peak memory of each.
pub(crate) fn weigh(plan: &Plan) -> Result<()> {
    if peak()?.is_none() {
        report::note("Peak memory is not measured: only Linux reports it.");
        return Ok(());
    }
    let folder = temporary_folder(&plan.folder)?;
    let path = folder.path().join("memory.db");
    let (turns, content) = (plan.size.weighed_turns, "0123456789abcdef".repeat(64));
    fill::open_once(&path)?;
    fill::add(&path, 0..1, turns, &content)?;

    let payload = (turns * content.len()) as f64;
    let mut rows = Vec::new();
    for (name, in_pages) in [
        ("get_history", false),
        ("get_history_page, 1,000 turns", true),
    ] {
        let mut worker = Worker::start(Side::Turnkeep, &path, Job::Read { in_pages })?;
        let (read, peak): (usize, u64) = worker.ask(&())?;
        worker.stop()?;
        ensure!(read == turns, "{name} read {read} turns of {turns}");
        let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
        rows.push(vec![
            name.into(),
            megabytes(payload),
            megabytes(peak as f64),
            format!("{:.2}", peak as f64 / payload),
        ]);
    }
    let head = ["reading", "contents read", "peak of memory", "ratio"];
    report::table(&head, &rows);
    Ok(())
}

/// Reads the only history. Returns its number of turns and the growth of this process's peak memory
/// in bytes.
pub(crate) fn read(path: &Path, in_pages: bool) -> Result<(usize, u64)> {
    let repo = Repo::open(path)?;
    let task = task_id(0)?;
    // Warm-up: opens a connection and prepares the statements.
    drop(repo.get_history_page(&task, HistoryPage::new(1))?);
    let before = peak()?.context("the peak is gone")?;
    let turns = if in_pages {
        read_pages(&repo)?
    } else {
        repo.get_history(&task)?.len()
    };
    let after = peak()?.context("the peak is gone")?;
    Ok((turns, after - before))
}

fn read_pages(repo: &Repo) -> Result<usize> {
    let task = task_id(0)?;
    let mut after = None;
    let mut turns = 0;
    loop {
        let page = repo.get_history_page(&task, HistoryPage::new(PAGE).after(after))?;
        let Some(turn) = page.last() else {
            return Ok(turns);
        };
        after = Some(turn.seq);
        turns += page.len();
    }
}

/// Returns the peak memory of this process in bytes, where the system reports it.
fn peak() -> Result<Option<u64>> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Ok(None);
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let Some(kilobytes) = line.and_then(|line| line.trim().strip_suffix(" kB")) else {
        return Ok(None);
    };
    Ok(Some(kilobytes.parse::<u64>()? * 1024))
}
