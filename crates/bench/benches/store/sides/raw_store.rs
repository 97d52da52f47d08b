//! The raw side: SQLite's C API without any layer.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use turnkeep_repo::{Durability, NewSession, Role, TaskId};

use super::raw::{Db, Statement, Value};
use super::raw_rows::{RawSession, RawTurn};
use crate::store::{Store, now};

/// One connection with Turnkeep's settings, and statements prepared once.
pub(crate) struct RawStore {
    begin: Statement,
    commit: Statement,
    last_seq: Statement,
    append_turn: Statement,
    get_history: Statement,
    get_session: Statement,
    upsert_session: Statement,
}

impl RawStore {
    /// Opens a store that Turnkeep created.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self> {
        let db = Db::open(path)?;
        set_up(&db, durability)?;
        Ok(Self {
            begin: db.prepare("BEGIN IMMEDIATE")?,
            commit: db.prepare("COMMIT")?,
            // A tenth cheaper than one INSERT … SELECT max(seq) + 1 … RETURNING seq.
            last_seq: db.prepare("SELECT max(seq) FROM conversation_history WHERE task_id = ?1")?,
            append_turn: db.prepare(
                "INSERT INTO conversation_history \
                 (task_id, seq, role, content, timestamp, message_key) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            get_history: db.prepare(
                "SELECT seq, role, content, timestamp, message_key \
                 FROM conversation_history WHERE task_id = ?1 ORDER BY seq",
            )?,
            get_session: db.prepare(
                "SELECT task_id, backend_type, session_id, working_dir, created_at, updated_at \
                 FROM sessions WHERE task_id = ?1",
            )?,
            upsert_session: db.prepare(
                "INSERT INTO sessions \
                 (task_id, backend_type, session_id, working_dir, created_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (task_id) DO UPDATE SET \
                 backend_type = excluded.backend_type, session_id = excluded.session_id, \
                 working_dir = excluded.working_dir, updated_at = excluded.updated_at \
                 WHERE sessions.backend_type <> excluded.backend_type \
                 OR sessions.session_id <> excluded.session_id \
                 OR sessions.working_dir IS DISTINCT FROM excluded.working_dir",
            )?,
        })
    }
}

impl RawStore {
    /// Appends a message to each of these tasks in one transaction.
    pub(crate) fn save_batch<'a>(
        &mut self,
        tasks: impl Iterator<Item = &'a TaskId>,
        content: &str,
    ) -> Result<()> {
        self.begin.execute(&[])?;
        for task in tasks {
            self.append(task, content)?;
        }
        self.commit.execute(&[])
    }

    fn append(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        let now = now()?;
        let task = Value::Text(task.as_str());
        let seq = last(&mut self.last_seq, task)? + 1;
        self.append_turn.execute(&[
            task,
            Value::Integer(seq),
            Value::Text(Role::Assistant.as_str()),
            Value::Text(content),
            Value::Integer(now),
            Value::Null,
        ])?;
        Ok(seq)
    }
}

/// Turnkeep's settings, from `crates/repo/src/sqlite/connection.rs`.
fn set_up(db: &Db, durability: Durability) -> Result<()> {
    let (synchronous, number) = match durability {
        Durability::Normal => ("NORMAL", 1),
        _ => ("FULL", 2),
    };
    for pragma in [
        "busy_timeout = 5000",
        "foreign_keys = ON",
        "journal_mode = WAL",
        &format!("synchronous = {synchronous}"),
        "trusted_schema = OFF",
        "journal_size_limit = 67108864",
        "fullfsync = ON",
    ] {
        db.execute(&format!("PRAGMA {pragma}"))?;
    }
    ensure!(db.query_integer("PRAGMA synchronous")? == number);
    ensure!(db.query_integer("PRAGMA foreign_keys")? == 1);
    ensure!(db.query_integer("PRAGMA wal_autocheckpoint")? == 1000);
    Ok(())
}

impl Store for RawStore {
    type Session = RawSession;
    type Turn = RawTurn;

    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        self.begin.execute(&[])?;
        let seq = self.append(task, content)?;
        self.commit.execute(&[])?;
        Ok(seq)
    }

    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<RawSession> {
        self.begin.execute(&[])?;
        let now = Value::Integer(now()?);
        let task = Value::Text(task.as_str());
        let backend = Value::Text(binding.backend_type.as_str());
        let session_id = Value::Text(binding.session_id.as_str());
        let working_dir = binding.working_dir.as_ref().map(|dir| dir.as_str()).into();
        // Triggers keep the revisions.
        self.upsert_session
            .execute(&[task, backend, session_id, working_dir, now])?;
        let mut rows = self.get_session.bind(&[task])?;
        let session = RawSession::read(&rows.step()?.context("the binding is gone")?)?;
        drop(rows);
        self.commit.execute(&[])?;
        Ok(session)
    }

    fn get_session(&mut self, task: &TaskId) -> Result<RawSession> {
        let mut rows = self.get_session.bind(&[Value::Text(task.as_str())])?;
        RawSession::read(&rows.step()?.context("the task has no session")?)
    }

    fn get_history(&mut self, task: &TaskId) -> Result<Vec<RawTurn>> {
        let mut rows = self.get_history.bind(&[Value::Text(task.as_str())])?;
        let mut history = Vec::new();
        while let Some(row) = rows.step()? {
            history.push(RawTurn::read(&row)?);
        }
        Ok(history)
    }
}

/// Runs a `SELECT max(…)`. Returns 0 for NULL.
fn last(statement: &mut Statement, task: Value<'_>) -> Result<i64> {
    let mut rows = statement.bind(&[task])?;
    Ok(rows.step()?.context("an aggregate has a row")?.integer(0))
}
