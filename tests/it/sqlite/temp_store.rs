use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use tempfile::TempDir;

use crate::sql::{Sql, left_out_of_file};
use crate::support::{Handle, Harness, Options};

/// A folder of its own with the path of a store in it, which is opened as an `H`.
pub struct TempStore<H> {
    folder: TempDir,
    opened_as: PhantomData<fn() -> H>,
}

impl<H> TempStore<H> {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self) -> PathBuf {
        self.folder().join("store.db")
    }

    /// Opens the file as another program would, with its own ideas about pragmas.
    pub fn raw(&self) -> anyhow::Result<SqliteConnection> {
        let mut conn = SqliteConnection::establish(&self.path().to_string_lossy())?;
        conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON")?;
        Ok(conn)
    }

    /// Writes nonsense over pages that opening does not read.
    pub fn damage_second_half(&self) -> anyhow::Result<()> {
        let mut bytes = fs::read(self.path())?;
        let half = bytes.len() / 2;
        bytes[half..].fill(0xa5);
        Ok(fs::write(self.path(), bytes)?)
    }
}

/// Returns the paths of what is in a folder, in order.
pub fn listing(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

impl<H: Handle> Harness for TempStore<H> {
    type Store = H;

    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: TempDir::new()?,
            opened_as: PhantomData,
        })
    }

    fn open_with(&self, options: Options) -> turnkeep_repo::Result<H> {
        H::open_with(options.builder(self.path()))
    }

    fn worker(&self) -> Command {
        H::worker(self.path())
    }

    fn check(&self) -> anyhow::Result<()> {
        #[derive(QueryableByName)]
        struct Answer {
            #[diesel(sql_type = Text)]
            integrity_check: String,
        }
        let mut conn = self.raw()?;
        let answers: Vec<Answer> = sql_query("PRAGMA integrity_check").load(&mut conn)?;
        let answers: Vec<_> = answers.into_iter().map(|a| a.integrity_check).collect();
        ensure!(answers == ["ok"], "{answers:?}");
        let violations = sql_query("PRAGMA foreign_key_check").execute(&mut conn)?;
        ensure!(violations == 0, "{violations} rows without their task");
        Ok(())
    }
}

impl<H: Handle> Sql for TempStore<H> {
    fn address(&self) -> std::path::PathBuf {
        self.path()
    }

    fn zeros(count: usize) -> String {
        format!("zeroblob({count})")
    }

    fn execute(&self, sql: &str) -> anyhow::Result<()> {
        Ok(self.raw()?.batch_execute(sql)?)
    }

    fn texts(&self, query: &str) -> anyhow::Result<Vec<String>> {
        Ok(diesel::dsl::sql::<Text>(query).load(&mut self.raw()?)?)
    }

    fn leave_out(&self, event: &str, table: &str) -> anyhow::Result<()> {
        self.execute(&left_out_of_file(event, table))
    }

    fn take_all(&self, _: &str) -> anyhow::Result<()> {
        self.execute("DROP TRIGGER theirs")
    }
}
