//! One database per side, all copies of the same file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use turnkeep_repo::{Durability, NewTask, Repo, Role};

use crate::data::Data;
use crate::side::Side;
use crate::sides::jsonl_store::JsonlStore;
use crate::sides::raw::Db;
use crate::{lean_schema, old_schema, sides};

const TABLES: [&str; 4] = [
    "tasks",
    "sessions",
    "session_revisions",
    "conversation_history",
];

/// The files of all sides in a temporary folder, and the data in them.
pub(crate) struct Files {
    pub(crate) data: Data,
    sides: Vec<Side>,
    folder: TempDir,
}

impl Files {
    /// Makes the files of these sides in a temporary folder, which is deleted on drop.
    pub(crate) fn create(
        folder: &Path,
        sides: &[Side],
        tasks: usize,
        turns: usize,
    ) -> Result<Self> {
        let folder = temporary_folder(folder)?;
        let data = Data::new(tasks)?;
        let first = folder.path().join("first.db");
        fill(&first, &data, turns)?;
        let sides = sides.to_vec();
        let files = Self {
            data,
            sides,
            folder,
        };
        for side in &files.sides {
            let path = files.path(*side);
            match side {
                Side::Jsonl => {
                    JsonlStore::create(&path, &files.data.tasks, turns, &files.data.content)?;
                }
                Side::Lean => lean_schema::copy(&path, &first)?,
                Side::E463321 => old_schema::copy(&path, &first)?,
                _ => drop(fs::copy(&first, path)?),
            }
        }
        fs::remove_file(&first)?;
        Ok(files)
    }

    /// Returns the side's file; for `Jsonl` a folder.
    pub(crate) fn path(&self, side: Side) -> PathBuf {
        self.folder.path().join(format!("{}.db", side.name()))
    }

    /// Returns the size of the side's write-ahead log in bytes.
    pub(crate) fn log_bytes(&self, side: Side) -> Result<u64> {
        Ok(fs::metadata(log_of(&self.path(side)))?.len())
    }

    /// Compares all rows of all sides, except for times.
    pub(crate) fn ensure_equal(&self, durability: Durability) -> Result<()> {
        let (raw, others) = self.sides.split_first().context("there are no sides")?;
        let mut first = sides::open(*raw, &self.path(*raw), durability)?;
        for side in others {
            let name = side.name();
            let mut other = sides::open(*side, &self.path(*side), durability)?;
            for task in &self.data.tasks {
                let histories = (first.history(task)?, other.history(task)?);
                ensure!(
                    histories.0 == histories.1,
                    "{name}: the history of {task} differs"
                );
                if *side != Side::Jsonl {
                    let sessions = (first.session(task)?, other.session(task)?);
                    ensure!(
                        sessions.0 == sessions.1,
                        "{name}: the session of {task} differs"
                    );
                }
            }
            for table in TABLES.iter().filter(|_| *side != Side::Jsonl) {
                let sql = format!("SELECT count(*) FROM {table}");
                let expected = Db::open(&self.path(*raw))?.query_integer(&sql)?;
                let rows = Db::open(&self.path(*side))?.query_integer(&sql)?;
                ensure!(
                    rows == expected,
                    "{name}: {rows} rows in {table}, not {expected}"
                );
            }
        }
        Ok(())
    }

    /// Ensures that a side has the expected number of turns, without gaps in their seqs.
    pub(crate) fn ensure_turns(&self, side: Side, expected: u64) -> Result<()> {
        let path = self.path(side);
        let (turns, broken) = if side == Side::Jsonl {
            let mut lines = 0;
            for entry in fs::read_dir(path)? {
                lines += fs::read_to_string(entry?.path())?.lines().count();
            }
            (i64::try_from(lines)?, 0)
        } else {
            let db = Db::open(&path)?;
            let broken = "SELECT count(*) FROM (SELECT 1 FROM conversation_history \
                GROUP BY task_id HAVING min(seq) <> 1 OR max(seq) <> count(*))";
            let turns = "SELECT count(*) FROM conversation_history";
            (db.query_integer(turns)?, db.query_integer(broken)?)
        };
        let name = side.name();
        ensure!(broken == 0, "{name}: {broken} histories have gaps");
        ensure!(
            turns == i64::try_from(expected)?,
            "{name}: {turns} turns are stored, {expected} were acknowledged"
        );
        Ok(())
    }
}

/// Makes a folder that is deleted on drop.
pub(crate) fn temporary_folder(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("turnkeep-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("make a folder in {}", parent.display()))
}

/// Makes a database with interleaved turns of all tasks.
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
    ensure!(
        !fs::exists(log_of(file)).context("look for the log")?,
        "the file is not whole without its log"
    );
    Ok(())
}

fn log_of(file: &Path) -> PathBuf {
    file.with_extension("db-wal")
}
