//! sqlx on tokio, as Rust agents use it: a pool, hand-written SQL, `BEGIN IMMEDIATE` for reads
//! before a write.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Row as _, SqliteExecutor};
use tokio::runtime::{Builder, Runtime};
use turnkeep_repo::{Durability, NewSession, Role, TaskId};

use super::sql;
use crate::plain::{PlainSession, PlainTurn};
use crate::store::{Store, now};

/// A pool of ten connections and its runtime.
pub(crate) struct SqlxStore {
    pub(crate) pool: SqlitePool,
    pub(crate) runtime: Runtime,
}

impl SqlxStore {
    /// Opens a store that Turnkeep created.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let synchronous = match durability {
            Durability::Normal => SqliteSynchronous::Normal,
            _ => SqliteSynchronous::Full,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous);
        let pool = SqlitePoolOptions::new().max_connections(10);
        Ok(Self {
            pool: runtime.block_on(pool.connect_with(options))?,
            runtime,
        })
    }
}

impl Drop for SqlxStore {
    fn drop(&mut self) {
        self.runtime.block_on(self.pool.close());
    }
}

/// Appends a message and returns its seq.
pub(crate) async fn save_message(pool: &SqlitePool, task: &str, content: &str) -> Result<i64> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let last: Option<i64> = sqlx::query(sql::LAST_SEQ)
        .bind(task)
        .fetch_one(&mut *transaction)
        .await?
        .try_get(0)?;
    let seq = last.unwrap_or(0) + 1;
    sqlx::query(sql::APPEND_TURN)
        .bind(task)
        .bind(seq)
        .bind(Role::Assistant.as_str())
        .bind(content)
        .bind(now()?)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(seq)
}

async fn save_session(
    pool: &SqlitePool,
    task: &TaskId,
    binding: &NewSession,
) -> Result<PlainSession> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(sql::SAVE_SESSION)
        .bind(task.as_str())
        .bind(binding.backend_type.as_str())
        .bind(binding.session_id.as_str())
        .bind(binding.working_dir.as_ref().map(|dir| dir.as_str()))
        .bind(now()?)
        .execute(&mut *transaction)
        .await?;
    let session = get_session(&mut *transaction, task).await?;
    transaction.commit().await?;
    Ok(session)
}

async fn get_session(executor: impl SqliteExecutor<'_>, task: &TaskId) -> Result<PlainSession> {
    let query = sqlx::query(sql::GET_SESSION).bind(task.as_str());
    Ok(query
        .try_map(|row| session(&row))
        .fetch_one(executor)
        .await?)
}

impl Store for SqlxStore {
    type Session = PlainSession;
    type Turn = PlainTurn;

    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        self.runtime
            .block_on(save_message(&self.pool, task.as_str(), content))
    }

    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<PlainSession> {
        self.runtime
            .block_on(save_session(&self.pool, task, binding))
    }

    fn get_session(&mut self, task: &TaskId) -> Result<PlainSession> {
        self.runtime.block_on(get_session(&self.pool, task))
    }

    fn get_history(&mut self, task: &TaskId) -> Result<Vec<PlainTurn>> {
        let query = sqlx::query(sql::GET_HISTORY).bind(task.as_str());
        let turns = query.try_map(|row| turn(&row)).fetch_all(&self.pool);
        Ok(self.runtime.block_on(turns)?)
    }
}

fn session(row: &SqliteRow) -> sqlx::Result<PlainSession> {
    Ok(PlainSession {
        task_id: row.try_get(0)?,
        backend_type: row.try_get(1)?,
        session_id: row.try_get(2)?,
        working_dir: row.try_get(3)?,
        created_at: row.try_get(4)?,
        updated_at: row.try_get(5)?,
    })
}

fn turn(row: &SqliteRow) -> sqlx::Result<PlainTurn> {
    Ok(PlainTurn {
        task_id: row.try_get(0)?,
        seq: row.try_get(1)?,
        role: row.try_get(2)?,
        content: row.try_get(3)?,
        timestamp: row.try_get(4)?,
        message_key: row.try_get(5)?,
    })
}
