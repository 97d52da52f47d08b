//! The database that every measurement starts from, and the values that operations write.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use turnkeep_repo::{
    BackendType, Durability, NewSession, NewTask, Repo, Role, SessionId, TaskId, WorkingDir,
};

use crate::old_schema;

/// All tasks have a session. There are many, because a save reads all revisions of its task and few
/// are typical.
const TASKS: usize = 256;

/// The first tasks have a history.
const SPEAKING: usize = 16;

/// The length of each history.
const TURNS: usize = 100;

/// The turns of a batch, each of another task.
pub(crate) const BATCH: usize = 32;

/// A database of the fixture.
#[derive(Clone, Copy)]
pub(crate) enum Database {
    Store,
    /// The same rows with the schema of e463321.
    OldSchema,
    /// The tasks of a batch, without turns.
    Batch,
    BatchOldSchema,
}

impl Database {
    fn name(self) -> &'static str {
        match self {
            Self::Store => "first.db",
            Self::OldSchema => "old.db",
            Self::Batch => "batch.db",
            Self::BatchOldSchema => "batch_old.db",
        }
    }
}

/// A folder with the databases, deleted on drop.
pub(crate) struct Fixture {
    pub(crate) data: Data,
    folder: TempDir,
}

/// The values that operations read and write.
pub(crate) struct Data {
    tasks: Vec<TaskId>,
    bindings: [NewSession; 2],
    /// 1 KiB of ASCII.
    pub(crate) content: String,
}

impl Fixture {
    pub(crate) fn create() -> Result<Self> {
        // The name has a fixed length, so that resolving it costs the same each time.
        let folder = tempfile::Builder::new()
            .prefix("turnkeep-budget-")
            .tempdir()?;
        let data = Data::new()?;
        let fixture = Self { data, folder };
        fixture.fill()?;
        fixture.fill_old_schema()?;
        fixture.shrink(Database::Store, Database::Batch)?;
        fixture.shrink(Database::OldSchema, Database::BatchOldSchema)?;
        Ok(fixture)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a fresh copy of a database.
    pub(crate) fn copy(&self, database: Database) -> Result<PathBuf> {
        let copy = self.file("copy.db");
        fs::copy(self.file(database.name()), &copy)?;
        Ok(copy)
    }

    /// Interleaves the turns of all tasks.
    fn fill(&self) -> Result<()> {
        let file = self.file(Database::Store.name());
        let repo = open(&file, Durability::Normal)?;
        let first = binding("6f1d2c3b-58aa-4e63-9c0f-2f1f6d1c7a00")?;
        for task in &self.data.tasks {
            repo.save_task(&NewTask::new(task.clone(), "Refactor the login"))?;
            repo.save_session(task, &first)?;
        }
        for index in 0..SPEAKING * TURNS {
            let task = self.data.speaking_task(index);
            repo.save_message(task, Role::Assistant, &self.data.content)?;
        }
        drop(repo);
        ensure_whole(&file)
    }

    /// Makes the database with the old schema of the rows of the store.
    fn fill_old_schema(&self) -> Result<()> {
        let file = self.file(Database::OldSchema.name());
        old_schema::copy(&file, &self.file(Database::Store.name()))?;
        ensure_whole(&file)
    }

    /// Makes a database of which only the tasks of a batch are left.
    fn shrink(&self, from: Database, to: Database) -> Result<()> {
        let file = self.file(to.name());
        fs::copy(self.file(from.name()), &file)?;
        let mut conn = connect(&file)?;
        let batch = self.data.batch();
        conn.batch_execute(&format!(
            "DELETE FROM tasks WHERE id NOT BETWEEN '{}' AND '{}'; VACUUM",
            batch[0],
            batch[batch.len() - 1]
        ))?;
        drop(conn);
        ensure_whole(&file)
    }
}

impl Data {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            tasks: (0..TASKS)
                .map(|number| TaskId::new(format!("refactor-login-{number:05}")))
                .collect::<Result<_, _>>()?,
            bindings: [
                binding("0b9e7a52-7c1d-4b58-8f43-9f3b5c0d1e01")?,
                binding("d3a4c6e8-1f2b-4d9a-a7b6-0c8e4f5a6b02")?,
            ],
            content: "0123456789abcdef".repeat(64),
        })
    }

    /// Returns a task, going round all of them.
    pub(crate) fn task(&self, index: usize) -> &TaskId {
        &self.tasks[index % TASKS]
    }

    /// Returns a task with a history, going round all of them.
    pub(crate) fn speaking_task(&self, index: usize) -> &TaskId {
        &self.tasks[index % SPEAKING]
    }

    /// Returns all tasks with a history.
    pub(crate) fn speaking_tasks(&self) -> &[TaskId] {
        &self.tasks[..SPEAKING]
    }

    /// Returns the tasks of a batch. They have no history at first.
    pub(crate) fn batch(&self) -> &[TaskId] {
        &self.tasks[SPEAKING..SPEAKING + BATCH]
    }

    /// Returns the binding for [`task`](Self::task), a different one in each round.
    pub(crate) fn binding(&self, index: usize) -> &NewSession {
        &self.bindings[index / TASKS % self.bindings.len()]
    }
}

/// Opens a store that does the same work on a slow machine: a long timeout, since the busy timeout
/// is set again only after a call has used a hundredth of its time, and one reader.
pub(crate) fn open(file: &Path, durability: Durability) -> Result<Repo> {
    let repo = Repo::builder(file)
        .durability(durability)
        .timeout(Duration::from_secs(60 * 60))
        .readers(1);
    Ok(repo.open()?)
}

fn connect(file: &Path) -> Result<SqliteConnection> {
    let path = file.to_str().context("the path is not UTF-8")?;
    Ok(SqliteConnection::establish(path)?)
}

/// Ensures that the file of a closed database is complete without its log.
pub(crate) fn ensure_whole(file: &Path) -> Result<()> {
    let log = file.with_extension("db-wal");
    ensure!(!fs::exists(log)?, "the file is not whole without its log");
    Ok(())
}

fn binding(session_id: &str) -> Result<NewSession> {
    let session_id = SessionId::new(session_id)?;
    Ok(NewSession::new(BackendType::Claude, session_id)
        .working_dir(WorkingDir::new("/srv/projects/app")?))
}
