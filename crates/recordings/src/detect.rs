use std::path::Path;

use serde::Deserialize;
use turnkeep_model::BackendType;

use crate::error::Error;
use crate::jsonl;
use crate::lenient::{Lenient, Shape, from_object};

/// The format of a file, which decides how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Claude,
    /// The output of `claude -p --output-format stream-json`.
    ClaudeLog,
    /// The prompts of all sessions of Claude Code.
    ClaudeHistory,
    Codex,
    /// A rollout of an agent that another agent started. Never the format of a source.
    CodexSubAgent,
    GooseJsonl,
    GooseDatabase,
    /// A file or folder that could not be opened.
    Unreadable,
}

impl Format {
    /// Returns the agent that writes it.
    pub(crate) fn backend(self) -> Option<BackendType> {
        match self {
            Self::Claude | Self::ClaudeLog | Self::ClaudeHistory => Some(BackendType::Claude),
            Self::Codex | Self::CodexSubAgent => Some(BackendType::Codex),
            Self::GooseJsonl | Self::GooseDatabase => Some(BackendType::Goose),
            Self::Unreadable => None,
        }
    }
}

/// The number of objects read to detect a format. Real files show theirs within a few.
const MAX_OBJECTS: usize = 200;

/// Returns the format of a JSONL file, `None` if it is not a recording. The content decides. A file without
/// a known line is a Codex rollout if its name is `rollout-*`.
pub(crate) fn detect(path: &Path) -> Result<Option<Format>, Error> {
    let mut detected = None;
    let mut objects = 0;
    jsonl::for_each_object(path, |probe: Probe| {
        // Only a message tells a transcript of Claude Code from a similar one of another program.
        let is_certain = probe.message.0.is_some() || probe.session.0.is_none();
        let found = recognise(probe);
        objects += 1;
        let is_decided = found.is_some() && is_certain;
        detected = found.or(detected.take());
        !is_decided && objects < MAX_OBJECTS
    })?;
    let name = path.file_name().unwrap_or_default();
    let is_rollout = name.as_encoded_bytes().starts_with(b"rollout-");
    Ok(match detected {
        Some(Found::Recording(format)) => Some(format),
        Some(Found::Other) => None,
        None => is_rollout.then_some(Format::Codex),
    })
}

/// The fields that tell the formats apart.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Probe {
    #[serde(rename = "type")]
    kind: Lenient<String>,
    subtype: Lenient<String>,
    #[serde(rename = "sessionId")]
    session: Lenient<String>,
    session_id: Lenient<String>,
    uuid: Lenient<String>,
    #[serde(rename = "leafUuid")]
    leaf: Lenient<String>,
    message: Lenient<MessageProbe>,
    snapshot: Lenient<Shape>,
    display: Lenient<String>,
    payload: Lenient<PayloadProbe>,
    record_type: Lenient<String>,
    id: Lenient<String>,
    timestamp: Lenient<String>,
    instructions: Null,
    git: Lenient<Shape>,
    role: Lenient<String>,
    working_dir: Lenient<String>,
    created: Lenient<Shape>,
    content: Lenient<Shape>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageProbe {
    role: Lenient<String>,
    parts: Lenient<Shape>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PayloadProbe {
    source: Lenient<Source>,
    parent_thread_id: Lenient<String>,
}

/// The program in which a rollout was made. An object names the agent that started it, or, as `custom`, a
/// program in which a person uses Codex.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    custom: Lenient<Shape>,
}

from_object!(MessageProbe, PayloadProbe, Source);

/// Whether a field is there, if only as `null`.
#[derive(Default)]
struct Null(bool);

impl<'de> Deserialize<'de> for Null {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lenient::<Shape>::deserialize(deserializer).map(|_| Self(true))
    }
}

enum Found {
    Recording(Format),
    /// The file of a program that writes similar lines.
    Other,
}

fn recognise(probe: Probe) -> Option<Found> {
    let is_text = |field: &Lenient<String>| field.0.is_some();
    if let (Some("user" | "assistant"), Some(message)) = (probe.kind.0.as_deref(), &probe.message.0)
    {
        // Qwen Code.
        if message.parts.0.is_some() || message.role.0.as_deref() == Some("model") {
            return Some(Found::Other);
        }
    }
    let format = match (probe.kind.0.as_deref(), probe.payload.0) {
        (Some("session_meta"), Some(meta)) if meta.is_sub_agent() => Format::CodexSubAgent,
        (
            Some(
                "session_meta" | "response_item" | "event_msg" | "turn_context" | "compacted"
                | "realtime_item",
            ),
            Some(_),
        ) => Format::Codex,
        (Some("message"), None) if is_text(&probe.role) => Format::Codex,
        (Some(_), _) if is_text(&probe.session) => Format::Claude,
        (Some("user" | "assistant"), None)
            if is_text(&probe.session_id) && probe.message.0.is_some() =>
        {
            Format::ClaudeLog
        }
        (Some("system"), None)
            if is_text(&probe.session_id) && probe.subtype.0.as_deref() == Some("init") =>
        {
            Format::ClaudeLog
        }
        (Some("user" | "assistant"), None) if is_text(&probe.uuid) && probe.message.0.is_some() => {
            Format::Claude
        }
        (Some("summary"), None) if is_text(&probe.leaf) => Format::Claude,
        (Some("file-history-snapshot"), None) if probe.snapshot.0.is_some() => Format::Claude,
        (None, None) if is_text(&probe.display) && probe.timestamp.0.is_none() => {
            Format::ClaudeHistory
        }
        (None, None) if is_text(&probe.record_type) => Format::Codex,
        (None, None)
            if is_text(&probe.id) && is_text(&probe.timestamp) && !is_text(&probe.role) =>
        {
            let is_header = probe.instructions.0 || probe.git.0.is_some();
            is_header.then_some(Format::Codex)?
        }
        (None, None) if is_text(&probe.working_dir) => Format::GooseJsonl,
        (None, None)
            if is_text(&probe.role) && probe.created.0.is_some() && probe.content.0.is_some() =>
        {
            Format::GooseJsonl
        }
        _ => return None,
    };
    Some(Found::Recording(format))
}

impl PayloadProbe {
    /// Whether a header belongs to a sub-agent, guardian or review: its `source` is an object, or it names a
    /// parent thread.
    fn is_sub_agent(&self) -> bool {
        let source = self.source.0.as_ref();
        let parent = self.parent_thread_id.0.as_ref();
        source.is_some_and(|source| source.custom.0.is_none())
            || parent.is_some_and(|id| !id.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn recognised(object: Value) -> Option<Format> {
        match recognise(serde_json::from_value(object).unwrap())? {
            Found::Recording(format) => Some(format),
            Found::Other => None,
        }
    }

    #[test]
    fn each_agent_is_recognised_by_its_lines() {
        for (object, expected) in [
            (
                json!({"type": "summary", "summary": "", "leafUuid": "x"}),
                Format::Claude,
            ),
            (
                json!({"type": "user", "uuid": "x", "message": {}}),
                Format::Claude,
            ),
            (
                json!({"type": "a type of the future", "sessionId": "x"}),
                Format::Claude,
            ),
            (
                json!({"type": "file-history-snapshot", "snapshot": {}}),
                Format::Claude,
            ),
            (
                json!({"type": "system", "subtype": "init", "session_id": "x"}),
                Format::ClaudeLog,
            ),
            (
                json!({"type": "assistant", "session_id": "x", "message": {}}),
                Format::ClaudeLog,
            ),
            (
                json!({"display": "hello", "timestamp": 1, "project": "/"}),
                Format::ClaudeHistory,
            ),
            (
                json!({"type": "session_meta", "payload": {"source": "cli"}}),
                Format::Codex,
            ),
            (
                json!({"type": "session_meta", "payload": {"source": {"custom": "x"}}}),
                Format::Codex,
            ),
            (json!({"type": "event_msg", "payload": {}}), Format::Codex),
            (
                json!({"id": "x", "timestamp": "x", "instructions": null}),
                Format::Codex,
            ),
            (json!({"record_type": "state"}), Format::Codex),
            (
                json!({"type": "message", "role": "user", "content": []}),
                Format::Codex,
            ),
            (
                json!({"working_dir": "/srv", "description": ""}),
                Format::GooseJsonl,
            ),
            (
                json!({"role": "user", "created": 1, "content": []}),
                Format::GooseJsonl,
            ),
        ] {
            assert_eq!(recognised(object.clone()), Some(expected), "{object}");
        }
    }

    #[test]
    fn a_codex_sub_agent_is_recognised_by_its_source_or_parent() {
        for meta in [
            json!({"source": {"subagent": "review"}}),
            json!({"source": "cli", "parent_thread_id": "x"}),
        ] {
            let line = json!({"type": "session_meta", "payload": meta});
            assert_eq!(
                recognised(line.clone()),
                Some(Format::CodexSubAgent),
                "{line}"
            );
        }
        let forked = json!({"forked_from_id": "x", "parent_thread_id": null, "source": "cli"});
        let line = json!({"type": "session_meta", "payload": forked});
        assert_eq!(recognised(line), Some(Format::Codex));
    }

    #[test]
    fn other_json_is_not_a_recording() {
        for object in [
            json!({"type": "user", "sessionId": "x", "message": {"role": "user", "parts": []}}),
            json!({"type": "assistant", "sessionId": "x", "message": {"role": "model"}}),
            json!({"type": "result", "session_id": "x"}),
            json!({"session_id": "x", "ts": 1, "text": "hello"}),
            json!({"type": "started", "key": "x"}),
            json!({"id": "x", "timestamp": "x"}),
            json!({"messages": [{"role": "user", "content": "x"}]}),
            json!({}),
        ] {
            assert_eq!(recognised(object.clone()), None, "{object}");
        }
    }
}
