//! Diesel and r2d2 as one would write it at first.

use anyhow::Result;
use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use turnkeep_repo::chrono::Utc;

diesel::table! {
    plain_turns (id) {
        id -> BigInt,
        task_id -> Text,
        role -> Text,
        content -> Text,
        timestamp -> BigInt,
    }
}

#[derive(Insertable)]
#[diesel(table_name = plain_turns)]
struct NewTurn<'a> {
    task_id: &'a str,
    role: &'a str,
    content: &'a str,
    timestamp: i64,
}

/// A pool of ten connections.
pub(crate) struct Plain(Pool<ConnectionManager<PgConnection>>);

impl Plain {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let pool = Pool::new(ConnectionManager::<PgConnection>::new(url))?;
        pool.get()?.batch_execute(
            "CREATE TABLE plain_turns (
                id BIGSERIAL PRIMARY KEY,
                task_id TEXT NOT NULL,
                role TEXT NOT NULL,
                content TEXT NOT NULL,
                timestamp BIGINT NOT NULL
            );
            CREATE INDEX ON plain_turns (task_id, id)",
        )?;
        Ok(Self(pool))
    }

    /// Appends a turn, which is on the disk when this returns.
    pub(crate) fn append(&self, task_id: &str, content: &str) -> Result<()> {
        diesel::insert_into(plain_turns::table)
            .values(NewTurn {
                task_id,
                role: "assistant",
                content,
                timestamp: Utc::now().timestamp_micros(),
            })
            .execute(&mut self.0.get()?)?;
        Ok(())
    }
}
