//! Codex CLI: one JSONL "rollout" per session, `sessions/YYYY/MM/DD/rollout-<time>-<id>.jsonl`.
//!
//! Each line is an envelope `{timestamp, type, payload}`. Before August 2025 a file was a header line and
//! bare payloads.

use std::path::Path;

use serde::Deserialize;
use turnkeep_model::{BackendType, Role};

use crate::content::{Content, join};
use crate::error::Error;
use crate::file_name::{file_stem, is_uuid};
use crate::jsonl;
use crate::lenient::{Lenient, from_object};
use crate::message::{Draft, turn_role};
use crate::recording::Recording;
use crate::session::Session;
use crate::time;

/// Prefixes of texts that Codex itself adds to a user message.
const PROGRAM_TEXT: &[&str] = &[
    "<environment_context>",
    "<user_instructions>",
    "<permissions instructions>",
    "<collaboration_mode>",
    "<skills_instructions>",
    "<apps_instructions>",
    "<plugins_instructions>",
    "<personality_spec>",
    "<turn_aborted>",
    "<subagent_notification>",
    "<user_shell_command>",
    "<user_action>",
    "<skill>",
    "<model_switch>",
    "<image>",
    "<image ",
    "</image>",
    "<INSTRUCTIONS>",
    "<ide_context>",
    "<memory>",
    "<recommended_plugins>",
    "<goal_context>",
    "<hook_prompt>",
    "<realtime_conversation>",
    "<multi_agent_mode>",
    "# AGENTS.md instructions",
];

/// A line. Before August 2025 it was a header or a bare payload.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    #[serde(rename = "type")]
    kind: Lenient<String>,
    timestamp: Lenient<String>,
    id: Lenient<String>,
    role: Lenient<String>,
    content: Lenient<Content>,
    payload: Lenient<Payload>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    #[serde(rename = "type")]
    kind: Lenient<String>,
    timestamp: Lenient<String>,
    id: Lenient<String>,
    cwd: Lenient<String>,
    role: Lenient<String>,
    content: Lenient<Content>,
}

from_object!(Payload);

pub(crate) fn read(path: &Path) -> Result<Recording, Error> {
    let mut reader = Reader::default();
    let unparsable_lines = jsonl::for_each_object(path, |line| {
        reader.line(line);
        true
    })?;
    let header = reader.header.unwrap_or_default();
    let id = header.id.unwrap_or_else(|| id_of_file(path));
    Session {
        working_dir: header.cwd,
        drafts: reader.drafts,
        unparsable_lines,
        ..Session::new(BackendType::Codex, id, path.to_owned())
    }
    .into_recording()
}

/// Returns the thread's UUID in `rollout-<time>-<thread>` or `rollout-<time>-<thread>_<rollout>`, or the
/// whole name if there is none.
fn id_of_file(path: &Path) -> String {
    let stem = file_stem(path);
    let thread = stem
        .split_once('_')
        .map_or(stem.as_str(), |(thread, _)| thread);
    let start = thread.len().saturating_sub(36);
    match thread.get(start..) {
        Some(id) if is_uuid(id) => id.to_owned(),
        _ => stem,
    }
}

#[derive(Default)]
struct Reader {
    header: Option<Header>,
    drafts: Vec<Draft>,
}

#[derive(Default)]
struct Header {
    id: Option<String>,
    cwd: Option<String>,
    timestamp: Option<String>,
}

impl Reader {
    fn line(&mut self, line: Line) {
        let timestamp = line.timestamp.0;
        match (line.kind.0.as_deref(), line.payload.0) {
            (Some("session_meta"), Some(meta)) => {
                self.header(meta.id.0, meta.cwd.0, meta.timestamp.0.or(timestamp));
            }
            // The header of a file without envelopes.
            (None, None) if line.id.0.is_some() => self.header(line.id.0, None, timestamp),
            (Some("response_item"), Some(item)) if item.kind.0.as_deref() == Some("message") => {
                self.message(item.role.0.as_deref(), item.content.0, item.id.0, timestamp);
            }
            (Some("message"), None) => {
                self.message(line.role.0.as_deref(), line.content.0, line.id.0, timestamp);
            }
            _ => {}
        }
    }

    /// Keeps the first header. Later ones were copied by a fork or repeated by a resume.
    fn header(&mut self, id: Option<String>, cwd: Option<String>, timestamp: Option<String>) {
        self.header.get_or_insert_with(|| Header {
            id: id.filter(|id| !id.is_empty()),
            cwd,
            timestamp,
        });
    }

    fn message(
        &mut self,
        role: Option<&str>,
        content: Option<Content>,
        id: Option<String>,
        timestamp: Option<String>,
    ) {
        let Some(role) = role.and_then(turn_role) else {
            return;
        };
        // A message may mix program text with text of the user.
        let content = content.unwrap_or_default();
        let texts = content
            .texts()
            .filter(|text| role == Role::Assistant || !is_program_text(text));
        let timestamp = timestamp.or_else(|| self.header.as_ref()?.timestamp.clone());
        self.drafts.push(Draft {
            role,
            content: join(texts),
            timestamp: timestamp.as_deref().and_then(time::from_rfc3339),
            id,
            earlier_ids: Vec::new(),
        });
    }
}

fn is_program_text(text: &str) -> bool {
    let start = text.trim_start();
    PROGRAM_TEXT.iter().any(|tag| start.starts_with(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_gives_the_id_of_its_thread() {
        const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
        let rollout = "11a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
        for name in [
            format!("rollout-2026-09-18T07-12-44-{THREAD}.jsonl"),
            format!("rollout-2026-09-18T07-12-44-{THREAD}_{rollout}.jsonl"),
        ] {
            assert_eq!(id_of_file(Path::new(&name)), THREAD);
        }
        assert_eq!(id_of_file(Path::new("rollout-é.jsonl")), "rollout-é");
    }
}
