use std::marker::PhantomData;
use std::process::Command;

use anyhow::ensure;
use turnkeep_test_postgres::Database;

use super::overloads;
use crate::sql::{Sql, left_out_on_server};
use crate::support::{Handle, Harness, Options};

/// A database of its own on the server of the tests, with overloads planted in its schema, in which the store
/// is opened as an `H`.
pub struct TempDatabase<H> {
    database: Database,
    opened_as: PhantomData<fn() -> H>,
}

impl<H> TempDatabase<H> {
    pub fn url(&self) -> String {
        self.database.url()
    }
}

impl<H: Handle> Harness for TempDatabase<H> {
    type Store = H;

    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            database: overloads::database()?,
            opened_as: PhantomData,
        })
    }

    fn open_with(&self, options: Options) -> turnkeep_repo::Result<H> {
        H::open_with(options.builder(self.url()))
    }

    fn worker(&self) -> Command {
        H::worker(self.url())
    }

    fn check(&self) -> anyhow::Result<()> {
        let gaps = self.texts(
            "SELECT task_id FROM conversation_history \
             GROUP BY task_id HAVING count(*) <> max(seq) OR min(seq) <> 1",
        )?;
        ensure!(gaps.is_empty(), "gaps in {gaps:?}");
        Ok(())
    }
}

impl<H: Handle> Sql for TempDatabase<H> {
    fn address(&self) -> std::path::PathBuf {
        self.url().into()
    }

    fn zeros(count: usize) -> String {
        format!("decode(repeat('00', {count}), 'hex')")
    }

    fn execute(&self, sql: &str) -> anyhow::Result<()> {
        self.database.psql(sql).map(drop)
    }

    fn texts(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let answer = self.database.psql(query)?;
        Ok(answer.lines().map(String::from).collect())
    }

    fn leave_out(&self, event: &str, table: &str) -> anyhow::Result<()> {
        self.execute(&left_out_on_server(event, table))
    }

    fn take_all(&self, table: &str) -> anyhow::Result<()> {
        self.execute(&format!(
            "DROP TRIGGER theirs ON {table}; DROP FUNCTION theirs()"
        ))
    }
}
