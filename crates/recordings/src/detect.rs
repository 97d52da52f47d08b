use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::jsonl;

/// The format of a file, which decides how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Claude,
    Codex,
    /// A rollout of an agent that another agent started. Never the format of a source.
    CodexSubAgent,
    GooseJsonl,
    GooseDatabase,
    /// A Codex rollout compressed with Zstandard.
    Compressed,
    /// A file or folder that could not be opened.
    Unreadable,
}

/// The number of objects read to detect a format. Real files show theirs within a few.
const MAX_OBJECTS: usize = 200;

/// Returns the format of a JSONL file, `None` if it is not a recording. The content decides. A file without
/// a known line is a Codex rollout if its name is `rollout-*`.
pub(crate) fn detect(path: &Path) -> Result<Option<Format>, Error> {
    let mut detected = None;
    let mut objects = 0;
    jsonl::for_each_object(path, |object| {
        detected = recognise(&object);
        objects += 1;
        detected.is_none() && objects < MAX_OBJECTS
    })?;
    let name = path.file_name().unwrap_or_default();
    let is_rollout = name.as_encoded_bytes().starts_with(b"rollout-");
    Ok(detected.or(is_rollout.then_some(Format::Codex)))
}

fn recognise(object: &Map<String, Value>) -> Option<Format> {
    let has = |name| object.get(name).is_some_and(|value| !value.is_null());
    let is_text = |name| object.get(name).is_some_and(Value::is_string);
    let payload = object.get("payload").and_then(Value::as_object);
    let kind = object.get("type").and_then(Value::as_str);
    match (kind, payload) {
        (Some("session_meta"), Some(meta)) if is_sub_agent(meta) => Some(Format::CodexSubAgent),
        (
            Some("session_meta" | "response_item" | "event_msg" | "turn_context" | "compacted"),
            Some(_),
        ) => Some(Format::Codex),
        (Some("message"), None) if is_text("role") => Some(Format::Codex),
        (Some(_), _) if is_text("sessionId") => Some(Format::Claude),
        (Some("user" | "assistant"), None) if is_text("uuid") && has("message") => {
            Some(Format::Claude)
        }
        (Some("summary"), None) if is_text("leafUuid") => Some(Format::Claude),
        (Some("file-history-snapshot"), None) if has("snapshot") => Some(Format::Claude),
        (None, None) if is_text("record_type") => Some(Format::Codex),
        (None, None) if is_text("id") && is_text("timestamp") && !has("role") => {
            (object.contains_key("instructions") || has("git")).then_some(Format::Codex)
        }
        (None, None) if is_text("working_dir") => Some(Format::GooseJsonl),
        (None, None) if is_text("role") && has("created") && has("content") => {
            Some(Format::GooseJsonl)
        }
        _ => None,
    }
}

/// Whether a header belongs to a sub-agent, guardian or review: its `source` is an object, or it names a
/// parent thread. A `custom` source is a program in which a person uses Codex.
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

    fn recognised(object: Value) -> Option<Format> {
        recognise(object.as_object().unwrap())
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
