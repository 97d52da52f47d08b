use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use tempfile::TempDir;
use turnkeep_repo::{BackendType, NewSession, NewTask, Repo, SessionId, TaskId, WorkingDir};

/// A folder of its own with the path of a store in it.
pub struct TempStore {
    folder: TempDir,
}

impl TempStore {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: TempDir::new()?,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self) -> PathBuf {
        self.folder().join("store.db")
    }

    /// Opens the store, making it first if need be.
    pub fn open(&self) -> anyhow::Result<Repo> {
        Ok(Repo::open(self.path())?)
    }

    /// Opens the store and saves a task in it.
    pub fn open_with_task(&self, id: &str) -> anyhow::Result<(Repo, TaskId)> {
        let repo = self.open()?;
        let task = save_task(&repo, id)?;
        Ok((repo, task))
    }

    /// Opens the file as another program would, with its own ideas about pragmas.
    pub fn raw(&self) -> anyhow::Result<SqliteConnection> {
        let mut conn = SqliteConnection::establish(&self.path().to_string_lossy())?;
        conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON")?;
        Ok(conn)
    }

    /// Runs statements as another program.
    pub fn execute(&self, sql: &str) -> anyhow::Result<()> {
        Ok(self.raw()?.batch_execute(sql)?)
    }

    /// Starts another process on the store.
    pub fn worker(&self, command: &str, args: &[&str]) -> anyhow::Result<Worker> {
        Worker::start(worker_command(command).arg(self.path()).args(args))
    }
}

pub fn worker_command(command: &str) -> Command {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_turnkeep-test-worker"));
    worker.arg(command);
    worker
}

/// Another process, killed when it is no longer needed.
pub struct Worker {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().expect("stdout is piped");
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Waits for the next whole line; `None` when the process has said its last.
    pub fn line(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.lines.next().transpose()?)
    }

    /// Closes the process's standard input, which is what it may be waiting for.
    pub fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end and returns what was left to say. Fails if the process did.
    pub fn finish(mut self) -> anyhow::Result<Vec<String>> {
        self.go();
        let lines = self.lines.by_ref().collect::<Result<_, _>>()?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the worker ended with {status}");
        Ok(lines)
    }

    /// Kills the process with SIGKILL and returns what it had acknowledged by then.
    pub fn kill(mut self) -> anyhow::Result<Vec<String>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.lines.by_ref().collect::<Result<_, _>>()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already ended in the good case; then both have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn save_task(repo: &Repo, id: &str) -> anyhow::Result<TaskId> {
    let id = TaskId::new(id)?;
    repo.save_task(&NewTask::new(id.clone(), "A task"))?;
    Ok(id)
}

pub fn binding(backend: BackendType, id: &str, dir: Option<&str>) -> anyhow::Result<NewSession> {
    let mut binding = NewSession::new(backend, SessionId::new(id)?);
    binding.working_dir = dir.map(WorkingDir::new).transpose()?;
    Ok(binding)
}

/// The contents of a history, in order, after checking that its seqs are 1, 2, 3, …
pub fn contents(repo: &Repo, task: &TaskId) -> anyhow::Result<Vec<String>> {
    let history = repo.get_history(task)?;
    let seqs: Vec<i64> = history.iter().map(|turn| turn.seq).collect();
    let expected: Vec<i64> = (1..).take(history.len()).collect();
    assert_eq!(seqs, expected, "seqs are gapless");
    Ok(history.into_iter().map(|turn| turn.content).collect())
}
