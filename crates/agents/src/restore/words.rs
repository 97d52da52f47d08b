//! Writes a recording from the turns of a store, for a session of which no files are kept. The agent then knows all
//! that was said, but no tool call.
//!
//! The keys of the turns become the ids of the messages, so that the next import knows each message again. It
//! knows a turn with a key of another form by its text and its time.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use turnkeep_repo::chrono::{DateTime, SecondsFormat, Utc};
use turnkeep_repo::{ConversationTurn, MessageKey, Repo, Role, SessionId, TaskId};

use super::error::RestoreError;
use super::goose::Exported;
use crate::layout::is_uuid;

/// The words of a session.
pub(super) struct Words {
    turns: Vec<ConversationTurn>,
}

impl Words {
    /// Returns the turns of the user and the assistant that are not hidden.
    pub(super) fn of(repo: &Repo, task: &TaskId) -> Result<Self, RestoreError> {
        let mut turns = repo.get_history(task)?;
        turns.retain(|turn| {
            matches!(turn.role, Role::User | Role::Assistant) && !turn.content.trim().is_empty()
        });
        if turns.is_empty() {
            let task_id = task.clone();
            return Err(RestoreError::NothingKept { task_id });
        }
        Ok(Self { turns })
    }

    pub(super) fn started_at(&self) -> DateTime<Utc> {
        let first = self.turns.first();
        first.map_or(DateTime::UNIX_EPOCH, |turn| turn.timestamp)
    }

    /// Writes a transcript of Claude Code, which follows the chain of `parentUuid` from the last line.
    pub(super) fn claude(&self, session: &SessionId, working_dir: &Path) -> Vec<u8> {
        let cwd = working_dir.to_string_lossy();
        let mut parent = None;
        let lines = self.turns.iter().map(|turn| {
            let key = key(turn);
            let uuid = match turn.role {
                Role::User if is_uuid(&key) => key.clone(),
                _ => uuid_of(session, &key),
            };
            let message = match turn.role {
                Role::User => json!({"role": "user", "content": turn.content}),
                // Version 2.1.197 waits for ever for a message without a model.
                _ => json!({
                    "role": "assistant",
                    "model": "turnkeep",
                    "id": key,
                    "type": "message",
                    "content": [{"type": "text", "text": turn.content}],
                    "usage": {"input_tokens": 0, "output_tokens": 0},
                }),
            };
            json!({
                "parentUuid": parent.replace(uuid.clone()),
                "isSidechain": false,
                "type": turn.role.as_str(),
                "uuid": uuid,
                "timestamp": time(turn.timestamp),
                "sessionId": session.as_str(),
                "cwd": cwd,
                "version": CLAUDE_VERSION,
                "message": message,
            })
        });
        to_lines(lines)
    }

    /// Makes a session of Goose, which takes any text for the id of a message.
    pub(super) fn goose(&self, session: &SessionId) -> Exported {
        let messages = self.turns.iter().map(|turn| {
            json!({
                "id": key(turn),
                "role": turn.role.as_str(),
                "created": turn.timestamp.timestamp(),
                "content": [{"type": "text", "text": turn.content}],
                "metadata": {"userVisible": true, "agentVisible": true},
            })
        });
        Exported::new(session.as_str(), messages.collect())
    }

    /// Writes a rollout of Codex. The model gets the `response_item`s, the terminal shows the `event_msg`s. A line
    /// without a time is ignored.
    pub(super) fn codex(&self, session: &SessionId, working_dir: Option<&Path>) -> Vec<u8> {
        let started_at = time(self.started_at());
        let cwd = working_dir.unwrap_or(Path::new("/")).to_string_lossy();
        let header = json!({
            "timestamp": started_at,
            "type": "session_meta",
            "payload": {
                "id": session.as_str(),
                "timestamp": started_at,
                "cwd": cwd,
                "originator": "turnkeep",
                "cli_version": CODEX_VERSION,
            },
        });
        let turns = self.turns.iter().flat_map(|turn| {
            let (block, event) = match turn.role {
                Role::User => ("input_text", "user_message"),
                _ => ("output_text", "agent_message"),
            };
            let mut message = json!({
                "type": "message",
                "role": turn.role.as_str(),
                "content": [{"type": block, "text": turn.content}],
            });
            // The server refuses other ids.
            let key = turn.message_key.as_ref().map(MessageKey::as_str);
            if let Some(id) = key.filter(|key| key.starts_with("msg_")) {
                message["id"] = id.into();
            }
            let line = |kind: &str, payload: Value| json!({"timestamp": time(turn.timestamp), "type": kind, "payload": payload});
            [
                line("response_item", message),
                line("event_msg", json!({"type": event, "message": turn.content})),
            ]
        });
        to_lines(std::iter::once(header).chain(turns))
    }
}

/// The version of Claude Code of which the lines have the form.
const CLAUDE_VERSION: &str = "2.1.197";

/// The version of Codex of which the lines have the form.
const CODEX_VERSION: &str = "0.171.0";

/// Returns the key of a turn, or one made from its number.
fn key(turn: &ConversationTurn) -> String {
    let key = turn.message_key.as_ref();
    key.map_or_else(|| format!("seq:{}", turn.seq), ToString::to_string)
}

/// Makes a UUID of a key, the same in every restore.
fn uuid_of(session: &SessionId, key: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(session.as_str());
    hasher.update([0]);
    hasher.update(key);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    // Version 8: of its maker.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// With all digits that a store keeps: an import tells some messages by their time.
fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn to_lines(lines: impl Iterator<Item = Value>) -> Vec<u8> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text.into_bytes()
}
