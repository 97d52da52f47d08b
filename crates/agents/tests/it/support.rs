use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use serde_json::{Value, json};
use tempfile::TempDir;
use turnkeep_agents::{AgentHomes, ImportEvent, ImportOptions, ImportedSession, import};
use turnkeep_repo::{Repo, Session, TaskId};

pub(crate) const CLAUDE: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

/// A store and a folder with the homes of the agents: `.claude`, `.codex` and `goose`.
pub(crate) struct World {
    pub(crate) repo: Repo,
    pub(crate) options: ImportOptions,
    folder: Rc<TempDir>,
}

/// The result of an import.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) sessions: Vec<ImportedSession>,
    /// Warnings and failures.
    pub(crate) remarks: Vec<String>,
}

impl Imported {
    /// Returns the task and the number of new turns of each session.
    pub(crate) fn tasks(&self) -> Vec<(&str, i64)> {
        assert!(self.remarks.is_empty(), "{:?}", self.remarks);
        let sessions = self.sessions.iter();
        sessions
            .map(|session| (session.task_id.as_str(), session.added_turns))
            .collect()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = |name| folder.path().join(name);
        let homes = AgentHomes::new(home(".claude"), home(".codex"), home("goose"));
        Self {
            repo: Repo::open_in_memory().unwrap(),
            options: ImportOptions::new("host-1", homes),
            folder: folder.into(),
        }
    }

    /// Returns the same folder with an empty store.
    pub(crate) fn with_empty_store(&self) -> Self {
        Self {
            repo: Repo::open_in_memory().unwrap(),
            options: self.options.clone(),
            folder: Rc::clone(&self.folder),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and creates its parent folders.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a Goose database with one message per session.
    pub(crate) fn goose(&self, name: &str, sessions: &[(&str, &str)]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        let tables = "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, working_dir TEXT);
            CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, message_id TEXT, role TEXT,
                content_json TEXT, session_id TEXT, created_timestamp INTEGER, metadata_json TEXT);";
        database.batch_execute(tables).unwrap();
        for (session, text) in sessions {
            let content = json!([{"type": "text", "text": text}]);
            let rows = format!(
                "INSERT OR IGNORE INTO sessions VALUES ('{session}', '/srv/app');
                 INSERT INTO messages (role, content_json, session_id, created_timestamp)
                 VALUES ('user', '{content}', '{session}', 1767225600);"
            );
            database.batch_execute(&rows).unwrap();
        }
        path
    }

    pub(crate) fn import(&self, path: impl AsRef<Path>) -> Imported {
        let found = turnkeep_recordings::find(path.as_ref(), None).unwrap();
        let mut imported = Imported::default();
        import(
            &self.repo,
            &found,
            &self.options,
            &mut |event| match event {
                ImportEvent::Session(session) => imported.sessions.push(session),
                ImportEvent::Warning(warning) => imported.remarks.push(warning.to_string()),
                ImportEvent::Failed(failure) => imported.remarks.push(failure.to_string()),
                _ => {}
            },
        )
        .unwrap();
        imported
    }

    /// Returns the texts of a history.
    pub(crate) fn history(&self, task: &str) -> Vec<String> {
        let turns = self.repo.get_history(&id(task)).unwrap();
        turns.into_iter().map(|turn| turn.content).collect()
    }

    pub(crate) fn session(&self, task: &str) -> Session {
        self.repo.get_session(&id(task)).unwrap()
    }
}

pub(crate) fn id(task: &str) -> TaskId {
    TaskId::new(task).unwrap()
}

/// A prompt of Claude Code at a minute of an hour.
pub(crate) fn prompt(minute: usize, text: &str) -> Value {
    json!({
        "type": "user", "uuid": format!("{CLAUDE}-{minute}"), "sessionId": CLAUDE, "cwd": "/srv/app",
        "timestamp": format!("2026-02-03T10:{minute:02}:00.500Z"),
        "message": {"role": "user", "content": text},
    })
}

/// A transcript with the prompt "a" and one that is later than the test.
pub(crate) fn going_on() -> String {
    let mut later = prompt(1, "later");
    later["timestamp"] = json!("2200-02-03T10:00:00.500Z");
    jsonl([prompt(0, "a"), later])
}

/// A transcript with the prompts `texts`.
pub(crate) fn transcript(texts: &[&str]) -> String {
    let lines = texts.iter().enumerate();
    jsonl(lines.map(|(minute, text)| prompt(minute, text)))
}

pub(crate) fn jsonl(lines: impl IntoIterator<Item = Value>) -> String {
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}
