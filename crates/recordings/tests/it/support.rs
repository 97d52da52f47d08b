use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use turnkeep_model::{ConversationTurn, Seq};
use turnkeep_recordings::{Error, Recording, find};

/// A temporary folder.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and creates its parent folders.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a file with one JSON value per line.
    pub(crate) fn jsonl(&self, name: &str, lines: &[Value]) -> PathBuf {
        self.file(name, jsonl(lines))
    }
}

pub(crate) fn jsonl(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Reads all recordings at a path.
pub(crate) fn read_all(path: &Path) -> Result<Vec<Recording>, Error> {
    let mut recordings = Vec::new();
    for source in find(path, None)?.sources {
        for recording in source.sessions()? {
            recordings.push(recording?);
        }
    }
    Ok(recordings)
}

/// Reads the only recording at a path.
pub(crate) fn read(path: &Path) -> Recording {
    let mut recordings = read_all(path).unwrap();
    assert_eq!(recordings.len(), 1);
    recordings.remove(0)
}

/// Returns the turns as `user: text` and `assistant: text`.
pub(crate) fn turns(recording: &Recording) -> Vec<String> {
    let turns = recording.messages.iter();
    turns
        .map(|turn| format!("{}: {}", turn.role, turn.content))
        .collect()
}

pub(crate) fn keys(recording: &Recording) -> Vec<&str> {
    recording
        .messages
        .iter()
        .map(|turn| turn.key.as_str())
        .collect()
}

/// Returns the history of a store after an import of the recording.
pub(crate) fn stored(recording: &Recording, before: &[ConversationTurn]) -> Vec<ConversationTurn> {
    let mut turns = before.to_vec();
    for message in recording.new_messages(before) {
        let mut turn = ConversationTurn::new(
            recording.task_id().unwrap(),
            Seq::new(i64::try_from(turns.len()).unwrap() + 1).unwrap(),
            message.role,
            message.content.into_owned(),
            message.timestamp.unwrap(),
        );
        turn.message_key = message.key;
        turns.push(turn);
    }
    turns
}
