//! Fills a store fast, through the C API without syncing, as if 32 tasks ran at a time.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};
use turnkeep_repo::{Repo, Role};

use crate::data::task_id;
use crate::sides::raw::{Db, Statement, Value};
use crate::store::now;

/// The number of concurrent tasks.
pub(crate) const TASKS: usize = 32;

/// Opens and closes a store. Creates it if it is missing.
pub(crate) fn open_once(path: &Path) -> Result<()> {
    Repo::open(path)?;
    Ok(())
}

/// Adds tasks with interleaved turns and syncs the file. Triggers and constraints stay active.
pub(crate) fn add(path: &Path, tasks: Range<usize>, turns: usize, content: &str) -> Result<()> {
    let db = Db::open(path)?;
    db.execute("PRAGMA synchronous = OFF")?;
    let mut add_task = db.prepare(
        "INSERT INTO tasks \
         (id, name, prompt, writes_files, status, failure_mode, created_at, updated_at, \
          status_changed_at, last_active_at) \
         VALUES (?1, 'Refactor the login', '', '[]', 'running', 'hard', ?2, ?2, ?2, ?2)",
    )?;
    let mut add_turn = db.prepare(
        "INSERT INTO conversation_history (task_id, seq, role, content, timestamp) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for first in tasks.clone().step_by(TASKS) {
        let generation = first..(first + TASKS).min(tasks.end);
        db.execute("BEGIN IMMEDIATE")?;
        add_generation(generation, turns, content, &mut add_task, &mut add_turn)?;
        db.execute("COMMIT")?;
    }
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")?;
    drop((add_task, add_turn, db));
    File::open(path)?.sync_all().context("sync what was filled")
}

fn add_generation(
    tasks: Range<usize>,
    turns: usize,
    content: &str,
    add_task: &mut Statement,
    add_turn: &mut Statement,
) -> Result<()> {
    let tasks = tasks.map(task_id).collect::<Result<Vec<_>>>()?;
    let now = Value::Integer(now()?);
    for task in &tasks {
        add_task.execute(&[Value::Text(task.as_str()), now])?;
    }
    for seq in (1..).take(turns) {
        for task in &tasks {
            add_turn.execute(&[
                Value::Text(task.as_str()),
                Value::Integer(seq),
                Value::Text(Role::Assistant.as_str()),
                Value::Text(content),
                now,
            ])?;
        }
    }
    Ok(())
}
