//! rusqlite and r2d2: a pool, hand-written SQL, cached statements.

use std::path::Path;

use anyhow::Result;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, Row, TransactionBehavior, params};
use turnkeep_repo::{Durability, NewSession, Role, TaskId};

use super::sql::{self, synchronous};
use crate::plain::{PlainSession, PlainTurn};
use crate::store::{Store, now};

/// A pool of ten connections.
#[derive(Clone)]
pub(crate) struct RusqliteStore(r2d2::Pool<SqliteConnectionManager>);

impl RusqliteStore {
    /// Opens a store that Turnkeep created.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self> {
        let synchronous = synchronous(durability);
        let manager = SqliteConnectionManager::file(path).with_init(move |conn| {
            conn.execute_batch(&format!(
                "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; \
                 PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}"
            ))
        });
        Ok(Self(r2d2::Pool::builder().max_size(10).build(manager)?))
    }
}

impl Store for RusqliteStore {
    type Session = PlainSession;
    type Turn = PlainTurn;

    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        let mut conn = self.0.get()?;
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let task = task.as_str();
        let last: Option<i64> = transaction
            .prepare_cached(sql::LAST_SEQ)?
            .query_row([task], |row| row.get(0))?;
        let seq = last.unwrap_or(0) + 1;
        let role = Role::Assistant.as_str();
        transaction
            .prepare_cached(sql::APPEND_TURN)?
            .execute(params![task, seq, role, content, now()?])?;
        transaction.commit()?;
        Ok(seq)
    }

    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<PlainSession> {
        let mut conn = self.0.get()?;
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached(sql::SAVE_SESSION)?
            .execute(params![
                task.as_str(),
                binding.backend_type.as_str(),
                binding.session_id.as_str(),
                binding.working_dir.as_ref().map(|dir| dir.as_str()),
                now()?,
            ])?;
        let session = read_session(&transaction, task)?;
        transaction.commit()?;
        Ok(session)
    }

    fn get_session(&mut self, task: &TaskId) -> Result<PlainSession> {
        read_session(&*self.0.get()?, task)
    }

    fn get_history(&mut self, task: &TaskId) -> Result<Vec<PlainTurn>> {
        let conn = self.0.get()?;
        let mut statement = conn.prepare_cached(sql::GET_HISTORY)?;
        let turns = statement.query_map([task.as_str()], turn)?;
        Ok(turns.collect::<Result<_, _>>()?)
    }
}

fn read_session(conn: &Connection, task: &TaskId) -> Result<PlainSession> {
    let mut statement = conn.prepare_cached(sql::GET_SESSION)?;
    Ok(statement.query_row([task.as_str()], session)?)
}

fn session(row: &Row<'_>) -> rusqlite::Result<PlainSession> {
    Ok(PlainSession {
        task_id: row.get(0)?,
        backend_type: row.get(1)?,
        session_id: row.get(2)?,
        working_dir: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
    })
}

fn turn(row: &Row<'_>) -> rusqlite::Result<PlainTurn> {
    Ok(PlainTurn {
        task_id: row.get(0)?,
        seq: row.get(1)?,
        role: row.get(2)?,
        content: row.get(3)?,
        timestamp: row.get(4)?,
        message_key: row.get(5)?,
    })
}
