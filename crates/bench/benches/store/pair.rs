//! Two databases that start as the same bytes, one for each side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use turnkeep_repo::{Durability, NewTask, Repo, Role};

use crate::operation::{Data, Operation};
use crate::plan::{Plan, Side};
use crate::raw::Db;
use crate::raw_store::RawStore;
use crate::store::Store as _;

const TABLES: [&str; 4] = [
    "tasks",
    "sessions",
    "session_revisions",
    "conversation_history",
];

/// The files of both sides, in a folder of their own, and the data in them.
pub(crate) struct Pair {
    pub(crate) data: Data,
    folder: TempDir,
}

impl Pair {
    pub(crate) fn create(operation: &Operation, plan: &Plan) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("turnkeep-bench-")
            .tempdir_in(&plan.folder)
            .with_context(|| format!("make a folder in {}", plan.folder.display()))?;
        let data = Data::new(plan.tasks(operation))?;
        let first = folder.path().join("first.db");
        fill(&first, &data, operation.turns.min(plan.most_turns))?;
        let pair = Self { data, folder };
        fs::copy(&first, pair.file(Side::Raw))?;
        fs::copy(&first, pair.file(Side::Turnkeep))?;
        fs::remove_file(&first)?;
        Ok(pair)
    }

    pub(crate) fn file(&self, side: Side) -> PathBuf {
        self.folder.path().join(format!("{}.db", side.name()))
    }

    /// Opens both sides here, to compare results and never to measure.
    pub(crate) fn open(&self, durability: Durability) -> Result<(RawStore, Repo)> {
        Ok((
            RawStore::open(&self.file(Side::Raw), durability)?,
            open_turnkeep(&self.file(Side::Turnkeep), durability)?,
        ))
    }

    /// Compares all rows, but not the times of those that were written by each side.
    pub(crate) fn ensure_equal(&self, durability: Durability) -> Result<()> {
        for table in TABLES {
            let sql = format!("SELECT count(*) FROM {table}");
            let raw = Db::open(&self.file(Side::Raw))?.query_integer(&sql)?;
            let turnkeep = Db::open(&self.file(Side::Turnkeep))?.query_integer(&sql)?;
            ensure!(
                raw == turnkeep,
                "{table}: {raw} rows raw, {turnkeep} in Turnkeep"
            );
        }
        let (mut raw, turnkeep) = self.open(durability)?;
        for task in &self.data.tasks {
            ensure!(
                raw.get_session(task)? == turnkeep.get_session(task)?,
                "the sessions of {task} differ"
            );
            ensure!(
                raw.get_history(task)? == turnkeep.get_history(task)?,
                "the histories of {task} differ"
            );
        }
        Ok(())
    }
}

pub(crate) fn open_turnkeep(file: &Path, durability: Durability) -> Result<Repo> {
    Ok(Repo::builder(file).durability(durability).open()?)
}

/// Makes a database whose turns are interleaved as if all tasks had run at the same time.
fn fill(file: &Path, data: &Data, turns: usize) -> Result<()> {
    let repo = Repo::builder(file).durability(Durability::Normal).open()?;
    for task in &data.tasks {
        repo.save_task(&NewTask::new(task.clone(), "Refactor the login"))?;
        repo.save_session(task, &data.first_binding)?;
    }
    for _ in 0..turns {
        for task in &data.tasks {
            repo.save_message(task, Role::Assistant, &data.content)?;
        }
    }
    drop(repo);
    let log = file.with_extension("db-wal");
    ensure!(
        !fs::exists(&log).context("look for the log")?,
        "the file is not whole without its log"
    );
    Ok(())
}
