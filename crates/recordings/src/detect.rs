use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::jsonl;

/// How a file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Claude,
    Codex,
    GooseJsonl,
    GooseDatabase,
    /// A Codex rollout under Zstandard.
    Compressed,
    /// A file or folder that the system gave no look at.
    Unreadable,
}

/// How many objects of a file are looked at. Real files show what they are within a few.
const LOOKED_AT: usize = 200;

/// What a JSONL file is by its first lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detected {
    Claude,
    Codex,
    /// A rollout of an agent that another agent started.
    CodexSubAgent,
    Goose,
}

impl Detected {
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Claude => Format::Claude,
            Self::Codex | Self::CodexSubAgent => Format::Codex,
            Self::Goose => Format::GooseJsonl,
        }
    }
}

/// Recognises the agent that wrote a JSONL file. The content decides; only where it says
/// nothing, the name `rollout-*` does.
pub(crate) fn detect(path: &Path) -> Result<Option<Detected>, Error> {
    let mut detected = None;
    let mut looked_at = 0;
    jsonl::for_each_object(path, |object| {
        detected = recognise(&object);
        looked_at += 1;
        detected.is_none() && looked_at < LOOKED_AT
    })?;
    let name = path.file_name().unwrap_or_default();
    let is_rollout = name.as_encoded_bytes().starts_with(b"rollout-");
    Ok(detected.or(is_rollout.then_some(Detected::Codex)))
}

fn recognise(object: &Map<String, Value>) -> Option<Detected> {
    let has = |name| object.get(name).is_some_and(|value| !value.is_null());
    let is_text = |name| object.get(name).is_some_and(Value::is_string);
    let payload = object.get("payload").and_then(Value::as_object);
    let kind = object.get("type").and_then(Value::as_str);
    match (kind, payload) {
        (Some("session_meta"), Some(meta)) if is_sub_agent(meta) => Some(Detected::CodexSubAgent),
        (
            Some("session_meta" | "response_item" | "event_msg" | "turn_context" | "compacted"),
            Some(_),
        ) => Some(Detected::Codex),
        (Some("message"), None) if is_text("role") => Some(Detected::Codex),
        (Some(_), _) if is_text("sessionId") => Some(Detected::Claude),
        (Some("user" | "assistant"), None) if is_text("uuid") && has("message") => {
            Some(Detected::Claude)
        }
        (Some("summary"), None) if is_text("leafUuid") => Some(Detected::Claude),
        (Some("file-history-snapshot"), None) if has("snapshot") => Some(Detected::Claude),
        (None, None) if is_text("record_type") => Some(Detected::Codex),
        (None, None) if is_text("id") && is_text("timestamp") && !has("role") => {
            (object.contains_key("instructions") || has("git")).then_some(Detected::Codex)
        }
        (None, None) if is_text("working_dir") => Some(Detected::Goose),
        (None, None) if is_text("role") && has("created") && has("content") => {
            Some(Detected::Goose)
        }
        _ => None,
    }
}

/// Sub-agents, guardians and reviews name what started them: `source` is an object, or there is
/// a parent thread. A `custom` source is a program in which a person uses Codex.
fn is_sub_agent(meta: &Map<String, Value>) -> bool {
    let by_source = match meta.get("source") {
        Some(Value::Object(source)) => !source.contains_key("custom"),
        _ => false,
    };
    let parent = meta.get("parent_thread_id").and_then(Value::as_str);
    by_source || parent.is_some_and(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recognised(object: Value) -> Option<Detected> {
        recognise(object.as_object().unwrap())
    }

    #[test]
    fn each_agent_is_recognised_by_its_lines() {
        for (object, expected) in [
            (
                json!({"type": "summary", "summary": "", "leafUuid": "x"}),
                Detected::Claude,
            ),
            (
                json!({"type": "user", "uuid": "x", "message": {}}),
                Detected::Claude,
            ),
            (
                json!({"type": "a type of the future", "sessionId": "x"}),
                Detected::Claude,
            ),
            (
                json!({"type": "file-history-snapshot", "snapshot": {}}),
                Detected::Claude,
            ),
            (
                json!({"type": "session_meta", "payload": {"source": "cli"}}),
                Detected::Codex,
            ),
            (
                json!({"type": "session_meta", "payload": {"source": {"custom": "x"}}}),
                Detected::Codex,
            ),
            (json!({"type": "event_msg", "payload": {}}), Detected::Codex),
            (
                json!({"id": "x", "timestamp": "x", "instructions": null}),
                Detected::Codex,
            ),
            (json!({"record_type": "state"}), Detected::Codex),
            (
                json!({"type": "message", "role": "user", "content": []}),
                Detected::Codex,
            ),
            (
                json!({"working_dir": "/srv", "description": ""}),
                Detected::Goose,
            ),
            (
                json!({"role": "user", "created": 1, "content": []}),
                Detected::Goose,
            ),
        ] {
            assert_eq!(recognised(object.clone()), Some(expected), "{object}");
        }
    }

    #[test]
    fn codex_names_what_started_a_sub_agent() {
        for meta in [
            json!({"source": {"subagent": "review"}}),
            json!({"source": "cli", "parent_thread_id": "x"}),
        ] {
            let line = json!({"type": "session_meta", "payload": meta});
            assert_eq!(
                recognised(line.clone()),
                Some(Detected::CodexSubAgent),
                "{line}"
            );
        }
        let forked = json!({"forked_from_id": "x", "parent_thread_id": null, "source": "cli"});
        let line = json!({"type": "session_meta", "payload": forked});
        assert_eq!(recognised(line), Some(Detected::Codex));
    }

    #[test]
    fn other_json_is_not_taken_for_a_recording() {
        for object in [
            json!({"display": "hello", "sessionId": "x"}),
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
