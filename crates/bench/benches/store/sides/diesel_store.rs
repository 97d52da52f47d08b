//! Plain Diesel and r2d2: the default pool, the query builder, owned rows, and an immediate
//! transaction for reads before a write.

use std::path::Path;

use anyhow::{Context as _, Result};
use diesel::connection::SimpleConnection as _;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error, Pool};
use turnkeep_repo::{Durability, NewSession, Role, TaskId};
use turnkeep_schema::{conversation_history as turns, sessions};

use super::sql::synchronous;
use crate::plain::{PlainSession, PlainTurn};
use crate::store::{Store, now};

/// A pool of ten connections.
#[derive(Clone)]
pub(crate) struct DieselStore(Pool<ConnectionManager<SqliteConnection>>);

/// Sets up each connection of the pool.
#[derive(Debug)]
struct Pragmas(Durability);

impl CustomizeConnection<SqliteConnection, Error> for Pragmas {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let synchronous = synchronous(self.0);
        conn.batch_execute(&format!(
            "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; \
             PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}"
        ))
        .map_err(Error::QueryError)
    }
}

impl DieselStore {
    /// Opens a store that Turnkeep created.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self> {
        let url = path.to_str().context("the path is not UTF-8")?;
        let pool = Pool::builder()
            .connection_customizer(Box::new(Pragmas(durability)))
            .build(ConnectionManager::new(url))?;
        Ok(Self(pool))
    }
}

impl Store for DieselStore {
    type Session = PlainSession;
    type Turn = PlainTurn;

    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        let mut conn = self.0.get()?;
        conn.immediate_transaction(|conn| {
            let last = turns::table
                .filter(turns::task_id.eq(task.as_str()))
                .select(max(turns::seq))
                .first::<Option<i64>>(conn)?;
            let seq = last.unwrap_or(0) + 1;
            diesel::insert_into(turns::table)
                .values(PlainTurn {
                    task_id: task.as_str().into(),
                    seq,
                    role: Role::Assistant.as_str().into(),
                    content: content.into(),
                    timestamp: now()?,
                    message_key: None,
                })
                .execute(conn)?;
            Ok(seq)
        })
    }

    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<PlainSession> {
        let mut conn = self.0.get()?;
        let row = PlainSession::new(task, binding, now()?);
        conn.immediate_transaction(|conn| {
            diesel::insert_into(sessions::table)
                .values(&row)
                .on_conflict(sessions::task_id)
                .do_update()
                .set((
                    sessions::backend_type.eq(&row.backend_type),
                    sessions::session_id.eq(&row.session_id),
                    sessions::working_dir.eq(&row.working_dir),
                    sessions::updated_at.eq(row.updated_at),
                ))
                .execute(conn)?;
            Ok(sessions::table
                .find(task.as_str())
                .select(PlainSession::as_select())
                .first(conn)?)
        })
    }

    fn get_session(&mut self, task: &TaskId) -> Result<PlainSession> {
        let mut conn = self.0.get()?;
        Ok(sessions::table
            .find(task.as_str())
            .select(PlainSession::as_select())
            .first(&mut conn)?)
    }

    fn get_history(&mut self, task: &TaskId) -> Result<Vec<PlainTurn>> {
        let mut conn = self.0.get()?;
        Ok(turns::table
            .filter(turns::task_id.eq(task.as_str()))
            .order(turns::seq)
            .select((
                turns::task_id,
                turns::seq,
                turns::role,
                turns::content,
                turns::timestamp,
                turns::message_key,
            ))
            .load(&mut conn)?)
    }
}
