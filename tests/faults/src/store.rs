//! Helpers of several rows.

use std::io;
use std::path::Path;

use anyhow::ensure;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use tempfile::TempDir;
use turnkeep_repo::{NewTask, Repo, TaskId};

/// The name of the store's file.
pub(crate) const FILE: &str = "store.db";

/// Makes a folder in memory, where syncing is free. For faults that do not depend on the disk.
pub(crate) fn folder_in_memory() -> io::Result<TempDir> {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())
}

pub(crate) fn save_task(repo: &Repo, id: &str) -> anyhow::Result<TaskId> {
    let id = TaskId::new(id)?;
    repo.save_task(&NewTask::new(id.clone(), "A task"))?;
    Ok(id)
}

/// Returns the texts of a history and checks that its seqs are 1, 2, 3, …
pub(crate) fn contents(repo: &Repo, task: &TaskId) -> anyhow::Result<Vec<String>> {
    let history = repo.get_history(task)?;
    let seqs: Vec<i64> = history.iter().map(|turn| turn.seq.get()).collect();
    ensure!(
        seqs.iter().copied().eq((1..).take(seqs.len())),
        "the seqs of task `{task}` have gaps: {seqs:?}"
    );
    Ok(history.into_iter().map(|turn| turn.content).collect())
}

/// Opens the file as another program.
pub(crate) fn raw(path: &Path) -> anyhow::Result<SqliteConnection> {
    let mut conn = SqliteConnection::establish(&path.to_string_lossy())?;
    conn.batch_execute("PRAGMA busy_timeout = 5000")?;
    Ok(conn)
}

/// Runs SQLite's own checks.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let mut conn = raw(path)?;
    let answers = texts(&mut conn, "SELECT * FROM pragma_integrity_check")?;
    ensure!(answers == ["ok"], "integrity_check: {answers:?}");
    let answers = texts(&mut conn, "SELECT \"table\" FROM pragma_foreign_key_check")?;
    ensure!(answers.is_empty(), "foreign_key_check: {answers:?}");
    Ok(())
}

pub(crate) fn sqlite_version() -> anyhow::Result<String> {
    let mut conn = SqliteConnection::establish(":memory:")?;
    Ok(texts(&mut conn, "SELECT sqlite_version()")?.concat())
}

pub(crate) fn texts(conn: &mut SqliteConnection, query: &str) -> anyhow::Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Text)]
        answer: String,
    }
    let query = format!("WITH answers (answer) AS ({query}) SELECT answer FROM answers");
    let answers: Vec<Answer> = diesel::sql_query(query).load(conn)?;
    Ok(answers.into_iter().map(|answer| answer.answer).collect())
}
