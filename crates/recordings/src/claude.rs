//! Claude Code: one JSONL file per session, `projects/<folder slug>/<session id>.jsonl`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use turnkeep_model::{BackendType, Role};

use crate::content::{Content, join, push};
use crate::error::Error;
use crate::file_name::{file_stem, is_uuid};
use crate::jsonl;
use crate::key::Fingerprint;
use crate::lenient::{Lenient, from_object};
use crate::message::{Draft, turn_role};
use crate::recording::Recording;
use crate::session::Session;
use crate::time;

/// Prefixes of texts that Claude Code itself adds to a user message.
const PROGRAM_TEXT: &[&str] = &[
    "<local-command-stdout>",
    "<local-command-stderr>",
    "<local-command-caveat>",
    "<bash-input>",
    "<bash-stdout>",
    "<bash-stderr>",
    "<task-notification>",
    "<system-reminder>",
    "<user-prompt-submit-hook>",
    "<user-memory-input>",
    "[Request interrupted",
    "Caveat: The messages below were generated",
];

/// Prefixes of a slash command. The order of its parts varies.
const SLASH_COMMAND: &[&str] = &["<command-name>", "<command-message>", "<command-args>"];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Line {
    #[serde(rename = "type")]
    kind: Lenient<String>,
    uuid: Lenient<String>,
    session_id: Lenient<String>,
    cwd: Lenient<String>,
    timestamp: Lenient<String>,
    is_sidechain: Lenient<bool>,
    is_meta: Lenient<bool>,
    is_compact_summary: Lenient<bool>,
    is_visible_in_transcript_only: Lenient<bool>,
    is_api_error_message: Lenient<bool>,
    message: Lenient<Message>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    id: Lenient<String>,
    model: Lenient<String>,
    content: Lenient<Content>,
}

from_object!(Message);

pub(crate) fn read(path: &Path) -> Result<Recording, Error> {
    let mut reader = Reader {
        project: path.parent().and_then(Path::file_name),
        ..Reader::default()
    };
    let unparsable_lines = jsonl::for_each_object(path, |line| {
        reader.line(line);
        true
    })?;
    let stem = file_stem(path);
    let session_id = match reader.last_session_id {
        Some(id) if !is_uuid(&stem) => id,
        _ => stem,
    };
    let id = session_id;
    Session {
        working_dir: reader.started_in.or(reader.first_dir),
        drafts: reader.drafts,
        unparsable_lines,
        ..Session::new(BackendType::Claude, id, path.to_owned())
    }
    .into_recording()
}

/// Returns the name of the project folder for a working folder.
fn slug(dir: &str) -> String {
    dir.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

#[derive(Default)]
struct Reader<'a> {
    /// The name of the project folder, which holds the file.
    project: Option<&'a OsStr>,
    drafts: Vec<Draft>,
    uuids: HashSet<String>,
    /// Maps the id of each assistant message to its index in `drafts`.
    assistant: HashMap<String, usize>,
    /// The texts of each assistant message, by that index.
    assistant_texts: HashSet<(usize, Fingerprint)>,
    first_dir: Option<String>,
    /// The folder in which the session was started, which a resume needs. A session may change its folder,
    /// but its project folder keeps the name of the first one.
    started_in: Option<String>,
    last_session_id: Option<String>,
}

impl Reader<'_> {
    fn line(&mut self, line: Line) {
        self.note_session(&line);
        let Some(role) = line.kind.0.as_deref().and_then(turn_role) else {
            return;
        };
        let uuid = line.uuid.0.filter(|uuid| !uuid.is_empty());
        let is_repeated = uuid.clone().is_some_and(|uuid| !self.uuids.insert(uuid));
        let flags = [
            line.is_sidechain.0,
            line.is_meta.0,
            line.is_compact_summary.0,
            line.is_visible_in_transcript_only.0,
        ];
        if is_repeated || flags.contains(&Some(true)) {
            return;
        }
        let Some(message) = line.message.0 else {
            return;
        };
        let no_content = Content::default();
        let content = message.content.0.as_ref().unwrap_or(&no_content);
        let timestamp = line.timestamp.0.as_deref().and_then(time::from_rfc3339);
        if role == Role::User {
            self.drafts.push(Draft {
                role,
                content: join(content.texts().filter_map(human_text)),
                timestamp,
                id: uuid,
            });
            return;
        }
        let is_synthetic = message.model.0.as_deref() == Some("<synthetic>");
        if !is_synthetic && line.is_api_error_message.0 != Some(true) {
            self.assistant_line(content, message.id.0.as_deref(), timestamp, uuid);
        }
    }

    fn note_session(&mut self, line: &Line) {
        if let Some(id) = line.session_id.0.as_ref().filter(|id| !id.is_empty()) {
            self.last_session_id = Some(id.clone());
        }
        let Some(dir) = line.cwd.0.as_ref().filter(|dir| !dir.is_empty()) else {
            return;
        };
        self.first_dir.get_or_insert_with(|| dir.clone());
        if self.started_in.is_none() && self.project.is_some_and(|name| name == slug(dir).as_str())
        {
            self.started_in = Some(dir.clone());
        }
    }

    /// Adds the texts of a line to the turn of its message.
    ///
    /// Claude Code spreads one API message over several lines, and repeats lines under a new uuid when it
    /// resumes a session. Each different text of a message counts once.
    fn assistant_line(
        &mut self,
        content: &Content,
        message_id: Option<&str>,
        timestamp: Option<DateTime<Utc>>,
        uuid: Option<String>,
    ) {
        let mut texts = content.texts().peekable();
        if texts.peek().is_none() {
            return;
        }
        let message_id = message_id.filter(|id| !id.is_empty()).map(str::to_owned);
        let next = self.drafts.len();
        let index = match &message_id {
            Some(id) => *self.assistant.entry(id.clone()).or_insert(next),
            None => next,
        };
        if index == next {
            self.drafts.push(Draft {
                role: Role::Assistant,
                content: String::new(),
                timestamp,
                id: message_id.or(uuid),
            });
        }
        for text in texts {
            let fingerprint = Fingerprint::of_turn(Role::Assistant, text);
            if self.assistant_texts.insert((index, fingerprint)) {
                push(&mut self.drafts[index].content, text);
            }
        }
    }
}

/// Returns the part of a text in a user message that a person wrote: all of it, nothing, or the name and
/// arguments of a slash command.
fn human_text(block: &str) -> Option<String> {
    let start = block.trim_start();
    if SLASH_COMMAND.iter().any(|tag| start.starts_with(tag)) {
        let arguments = tagged(start, "command-args")?.trim();
        if arguments.is_empty() {
            return None;
        }
        let name = tagged(start, "command-name").map_or("", str::trim);
        return Some(format!("{name} {arguments}").trim_start().to_owned());
    }
    let is_program_text = PROGRAM_TEXT.iter().any(|tag| start.starts_with(tag));
    (!is_program_text).then(|| block.to_owned())
}

/// Returns the text between `<tag>` and `</tag>`.
fn tagged<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    Some(
        rest.split_once(&format!("</{tag}>"))
            .map_or(rest, |(inner, _)| inner),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_command_without_arguments_is_not_a_turn() {
        let command = "<command-message>review</command-message>\n<command-name>/review</command-name>\n<command-args> the \"cart\" </command-args>";
        assert_eq!(human_text(command).unwrap(), "/review the \"cart\"");
        assert_eq!(
            human_text("\n <command-name>/model</command-name><command-args> \n</command-args>"),
            None
        );
        assert_eq!(human_text("<command-name>/clear</command-name>"), None);
        assert_eq!(
            human_text("see <command-name>").unwrap(),
            "see <command-name>"
        );
    }

    #[test]
    fn program_text_is_dropped_after_leading_white_space() {
        for tag in PROGRAM_TEXT {
            assert_eq!(human_text(&format!(" \n{tag} x")), None, "{tag}");
            assert!(human_text(&format!("x {tag}")).is_some(), "{tag}");
        }
    }
}
