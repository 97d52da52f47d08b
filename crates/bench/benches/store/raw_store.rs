//! The raw side: what a program would do that has nothing between itself and SQLite.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use turnkeep_repo::{ConversationTurn, Durability, NewSession, Role, Session, TaskId};

use crate::raw::{Db, Row, Statement, Value};
use crate::store::Store;

/// One connection, set up as Turnkeep sets up its own, and statements prepared once.
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
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self> {
        let db = Db::open(path)?;
        set_up(&db, durability)?;
        Ok(Self {
            begin: db.prepare("BEGIN IMMEDIATE")?,
            commit: db.prepare("COMMIT")?,
            // Cheaper than one INSERT … SELECT max(seq) + 1 … RETURNING seq, by about a tenth.
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

/// Turnkeep's own settings, which are `crates/repo/src/sqlite/connection.rs`.
fn set_up(db: &Db, durability: Durability) -> Result<()> {
    let (synchronous, number) = match durability {
        Durability::Full => ("FULL", 2),
        Durability::Normal => ("NORMAL", 1),
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
        // The revisions are kept by triggers.
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

/// Runs a `SELECT max(…)`, which gives NULL, read as 0, when there is no row.
fn last(statement: &mut Statement, task: Value<'_>) -> Result<i64> {
    let mut rows = statement.bind(&[task])?;
    Ok(rows.step()?.context("an aggregate has a row")?.integer(0))
}

/// The time in the database's form. Both sides ask the clock once per write.
fn now() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_micros())?)
}

/// An owned copy of a row of `sessions`, its texts as bytes, which C does not look at.
#[derive(Debug)]
pub(crate) struct RawSession {
    task_id: Vec<u8>,
    backend_type: Vec<u8>,
    session_id: Vec<u8>,
    working_dir: Option<Vec<u8>>,
    created_at: i64,
    updated_at: i64,
}

impl RawSession {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            task_id: text(row, 0)?,
            backend_type: text(row, 1)?,
            session_id: text(row, 2)?,
            working_dir: row.text(3).map(<[u8]>::to_vec),
            created_at: row.integer(4),
            updated_at: row.integer(5),
        })
    }
}

/// Equal but for the time of the last change, which was another one.
impl PartialEq<Session> for RawSession {
    fn eq(&self, other: &Session) -> bool {
        let working_dir = other.working_dir.as_ref().map(|dir| dir.as_str());
        self.task_id == other.task_id.as_str().as_bytes()
            && self.backend_type == other.backend_type.as_str().as_bytes()
            && self.session_id == other.session_id.as_str().as_bytes()
            && self.working_dir.as_deref() == working_dir.map(str::as_bytes)
            && self.created_at == other.created_at.timestamp_micros()
            && self.created_at <= self.updated_at
    }
}

/// An owned copy of a row of `conversation_history` but for the task, which the caller knows, its
/// texts as bytes, which C does not look at.
#[derive(Debug)]
pub(crate) struct RawTurn {
    seq: i64,
    role: Vec<u8>,
    content: Vec<u8>,
    timestamp: i64,
    message_key: Option<Vec<u8>>,
}

impl RawTurn {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            seq: row.integer(0),
            role: text(row, 1)?,
            content: text(row, 2)?,
            timestamp: row.integer(3),
            message_key: row.text(4).map(<[u8]>::to_vec),
        })
    }
}

/// Equal but for the times, which were other ones.
impl PartialEq<ConversationTurn> for RawTurn {
    fn eq(&self, other: &ConversationTurn) -> bool {
        let message_key = other.message_key.as_ref().map(|key| key.as_str());
        self.seq == other.seq
            && self.role == other.role.as_str().as_bytes()
            && self.content == other.content.as_bytes()
            && self.timestamp > 0
            && self.message_key.as_deref() == message_key.map(str::as_bytes)
    }
}

fn text(row: &Row<'_>, column: i32) -> Result<Vec<u8>> {
    Ok(row.text(column).context("NULL where it can't be")?.to_vec())
}
