//! Claude Code: one JSONL file per session, `projects/<folder slug>/<session id>.jsonl`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use turnkeep_model::{BackendType, Role};

use crate::content::{blocks, is_blank, join};
use crate::error::Error;
use crate::file_name::{file_stem, is_uuid};
use crate::jsonl;
use crate::key::Fingerprint;
use crate::lenient::lenient;
use crate::message::Draft;
use crate::recording::Recording;
use crate::session::Session;
use crate::time;

/// How text begins that the program put into a user message.
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

/// How a slash command begins. The order of its parts varies.
const SLASH_COMMAND: &[&str] = &["<command-name>", "<command-message>", "<command-args>"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    uuid: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    session_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    cwd: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    timestamp: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    is_sidechain: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    is_meta: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    is_compact_summary: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    is_visible_in_transcript_only: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    is_api_error_message: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    model: Option<String>,
    #[serde(default)]
    content: Value,
}

pub(crate) fn read(path: &Path) -> Result<Recording, Error> {
    let project = path.parent().and_then(Path::file_name);
    let mut reader = Reader::new(project);
    let unparsable_lines = jsonl::for_each_object(path, |line| {
        reader.line(line);
        true
    })?;
    let stem = file_stem(path);
    let session_id = match reader.last_session_id {
        Some(id) if !is_uuid(&stem) => id,
        _ => stem,
    };
    Session {
        backend_type: BackendType::Claude,
        id: session_id,
        working_dir: reader.started_in.or(reader.first_dir),
        drafts: reader
            .drafts
            .into_iter()
            .filter_map(DraftTurn::finish)
            .collect(),
        unparsable_lines,
    }
    .into_recording(path)
}

/// The name of the project folder of a working folder.
fn slug(dir: &str) -> String {
    dir.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

#[derive(Default)]
struct Reader<'a> {
    /// Name of the folder the file is in.
    project: Option<&'a OsStr>,
    drafts: Vec<DraftTurn>,
    uuids: HashSet<String>,
    /// Where the turn of each assistant message stands in `drafts`.
    assistant: HashMap<String, usize>,
    /// The texts of each assistant message, by that place.
    assistant_texts: HashSet<(usize, Fingerprint)>,
    first_dir: Option<String>,
    /// A session may change its folder. The one it was started in, which resuming needs, is the
    /// one the project folder is named after.
    started_in: Option<String>,
    last_session_id: Option<String>,
}

/// A turn that may get more text from a later line.
struct DraftTurn {
    role: Role,
    texts: Vec<String>,
    timestamp: Option<DateTime<Utc>>,
    id: Option<String>,
}

impl DraftTurn {
    /// None when there is no text.
    fn finish(self) -> Option<Draft> {
        Some(Draft {
            role: self.role,
            content: join(self.texts)?,
            timestamp: self.timestamp,
            id: self.id,
        })
    }
}

impl<'a> Reader<'a> {
    fn new(project: Option<&'a OsStr>) -> Self {
        Self {
            project,
            ..Self::default()
        }
    }

    fn line(&mut self, line: Line) {
        self.note_session(&line);
        let role = match line.kind.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => return,
        };
        let uuid = line.uuid.filter(|uuid| !uuid.is_empty());
        let is_repeated = uuid.clone().is_some_and(|uuid| !self.uuids.insert(uuid));
        let flags = [
            line.is_sidechain,
            line.is_meta,
            line.is_compact_summary,
            line.is_visible_in_transcript_only,
        ];
        if is_repeated || flags.contains(&Some(true)) {
            return;
        }
        let Some(message) = line.message else {
            return;
        };
        let timestamp = line.timestamp.as_deref().and_then(time::from_rfc3339);
        if role == Role::User {
            self.drafts.push(DraftTurn {
                role,
                texts: texts(&message.content).filter_map(human_text).collect(),
                timestamp,
                id: uuid,
            });
            return;
        }
        let is_synthetic = message.model.as_deref() == Some("<synthetic>");
        if !is_synthetic && line.is_api_error_message != Some(true) {
            self.assistant_line(&message, timestamp, uuid);
        }
    }

    fn note_session(&mut self, line: &Line) {
        if let Some(id) = line.session_id.as_ref().filter(|id| !id.is_empty()) {
            self.last_session_id = Some(id.clone());
        }
        let Some(dir) = line.cwd.as_ref().filter(|dir| !dir.is_empty()) else {
            return;
        };
        self.first_dir.get_or_insert_with(|| dir.clone());
        if self.started_in.is_none() && self.project.is_some_and(|name| name == slug(dir).as_str())
        {
            self.started_in = Some(dir.clone());
        }
    }

    /// One message of the API is spread over several lines, and lines are repeated under a new
    /// uuid when a session is resumed: each different text of a message counts once.
    fn assistant_line(
        &mut self,
        message: &Message,
        timestamp: Option<DateTime<Utc>>,
        uuid: Option<String>,
    ) {
        let mut texts = texts(&message.content).peekable();
        if texts.peek().is_none() {
            return;
        }
        let message_id = message.id.clone().filter(|id| !id.is_empty());
        let known = message_id.as_ref().and_then(|id| self.assistant.get(id));
        let index = known.copied().unwrap_or(self.drafts.len());
        if index == self.drafts.len() {
            if let Some(id) = message_id.clone() {
                self.assistant.insert(id, index);
            }
            self.drafts.push(DraftTurn {
                role: Role::Assistant,
                texts: Vec::new(),
                timestamp,
                id: message_id.or(uuid),
            });
        }
        for text in texts {
            let fingerprint = Fingerprint::of_turn(Role::Assistant, text);
            if self.assistant_texts.insert((index, fingerprint)) {
                self.drafts[index].texts.push(text.to_owned());
            }
        }
    }
}

fn texts(content: &Value) -> impl Iterator<Item = &str> {
    blocks(content)
        .filter(|block| matches!(block.kind, None | Some("text")))
        .map(|block| block.text)
        .filter(|text| !is_blank(text))
}

/// What a person wrote of a block in a user message: all of it, nothing, or for a slash command
/// its name and arguments.
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

/// What stands between `<tag>` and `</tag>`.
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
    fn a_slash_command_counts_by_its_arguments() {
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
    fn text_of_the_program_is_dropped_after_white_space_too() {
        for tag in PROGRAM_TEXT {
            assert_eq!(human_text(&format!(" \n{tag} x")), None, "{tag}");
            assert!(human_text(&format!("x {tag}")).is_some(), "{tag}");
        }
    }
}
