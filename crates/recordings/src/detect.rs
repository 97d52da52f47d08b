use std::path::Path;

use serde::Deserialize;

use crate::error::Error;
use crate::jsonl;
use crate::lenient::{Lenient, Shape, from_object};

/// The format of a file, which decides how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Claude,
    Codex,
    /// A rollout of an agent that another agent started. Never the format of a source.
    CodexSubAgent,
    GooseJsonl,
    GooseDatabase,
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
    jsonl::for_each_object(path, |probe: Probe| {
        detected = recognise(probe);
        objects += 1;
        detected.is_none() && objects < MAX_OBJECTS
    })?;
    let name = path.file_name().unwrap_or_default();
    let is_rollout = name.as_encoded_bytes().starts_with(b"rollout-");
    Ok(detected.or(is_rollout.then_some(Format::Codex)))
}

/// The fields by which formats are told apart.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Probe {
    #[serde(rename = "type")]
    kind: Lenient<String>,
    #[serde(rename = "sessionId")]
    session: Lenient<String>,
    uuid: Lenient<String>,
    #[serde(rename = "leafUuid")]
    leaf: Lenient<String>,
    message: Lenient<Shape>,
    snapshot: Lenient<Shape>,
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

from_object!(PayloadProbe, Source);

/// Whether a field is there, if only as `null`.
#[derive(Default)]
struct Null(bool);

impl<'de> Deserialize<'de> for Null {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lenient::<Shape>::deserialize(deserializer).map(|_| Self(true))
    }
}

fn recognise(probe: Probe) -> Option<Format> {
    let is_text = |field: &Lenient<String>| field.0.is_some();
    match (probe.kind.0.as_deref(), probe.payload.0) {
        (Some("session_meta"), Some(meta)) if meta.is_sub_agent() => Some(Format::CodexSubAgent),
        (
            Some("session_meta" | "response_item" | "event_msg" | "turn_context" | "compacted"),
            Some(_),
        ) => Some(Format::Codex),
        (Some("message"), None) if is_text(&probe.role) => Some(Format::Codex),
        (Some(_), _) if is_text(&probe.session) => Some(Format::Claude),
        (Some("user" | "assistant"), None) if is_text(&probe.uuid) && probe.message.0.is_some() => {
            Some(Format::Claude)
        }
        (Some("summary"), None) if is_text(&probe.leaf) => Some(Format::Claude),
        (Some("file-history-snapshot"), None) if probe.snapshot.0.is_some() => Some(Format::Claude),
        (None, None) if is_text(&probe.record_type) => Some(Format::Codex),
        (None, None)
            if is_text(&probe.id) && is_text(&probe.timestamp) && !is_text(&probe.role) =>
        {
            (probe.instructions.0 || probe.git.0.is_some()).then_some(Format::Codex)
        }
        (None, None) if is_text(&probe.working_dir) => Some(Format::GooseJsonl),
        (None, None)
            if is_text(&probe.role) && probe.created.0.is_some() && probe.content.0.is_some() =>
        {
            Some(Format::GooseJsonl)
        }
        _ => None,
    }
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
        recognise(serde_json::from_value(object).unwrap())
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
