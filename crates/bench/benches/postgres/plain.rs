//! Plain Diesel and r2d2.

use anyhow::Result;
use diesel::connection::SimpleConnection as _;
use diesel::dsl::max;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_types::{BigInt, Text};
use turnkeep_repo::chrono::Utc;
use turnkeep_schema::conversation_history as turns;

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

    /// Appends a numbered turn to a history of Turnkeep that is not empty.
    pub(crate) fn append(&self, task_id: &str, content: &str) -> Result<()> {
        turns::table
            .filter(turns::task_id.eq(task_id))
            .select((
                task_id.into_sql::<Text>(),
                max(turns::seq).assume_not_null() + 1,
                "assistant".into_sql::<Text>(),
                content.into_sql::<Text>(),
                Utc::now().timestamp_micros().into_sql::<BigInt>(),
            ))
            .insert_into(turns::table)
            .into_columns((
                turns::task_id,
                turns::seq,
                turns::role,
                turns::content,
                turns::timestamp,
            ))
            .execute(&mut self.0.get()?)?;
        Ok(())
    }

    /// Appends a turn to a table without order and constraints.
    pub(crate) fn append_bare(&self, task_id: &str, content: &str) -> Result<()> {
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
