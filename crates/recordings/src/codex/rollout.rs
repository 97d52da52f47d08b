use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use turnkeep_model::Role;

use crate::by_time::Timed;
use crate::codex::line::{HistoryBase, Line, Payload};
use crate::codex::prompt::{is_attachment_tag, is_program_text};
use crate::content::{Content, Part, join};
use crate::error::Error;
use crate::file_name::RolloutName;
use crate::jsonl;
use crate::message::{Draft, turn_role};
use crate::time;

/// One file of a session.
#[derive(Default)]
pub(super) struct Rollout {
    pub(super) path: PathBuf,
    header: Option<Header>,
    pub(super) drafts: Vec<Timed<Draft>>,
    pub(super) title: Option<String>,
    pub(super) unparsable_lines: u64,
    /// The latest time of a line.
    pub(super) latest: Option<DateTime<Utc>>,
    /// The indexes of drafts that come from events. They count only in a file without other messages.
    events: Vec<usize>,
    event_ids: HashSet<String>,
    has_messages: bool,
    /// The offset of the first line that has an object.
    pub(super) first: Option<u64>,
    /// The offset of the line of the last turn of the user.
    pub(super) settled: u64,
}

#[derive(Default)]
struct Header {
    id: Option<String>,
    cwd: Option<String>,
    timestamp: Option<String>,
    base: Option<HistoryBase>,
    forked_from: Option<String>,
}

impl Rollout {
    /// Reads a file, or of its messages only those with an ordinal below `end`.
    pub(super) fn read(path: &Path, end: Option<i64>) -> Result<Self, Error> {
        Self::read_lines(path, 0, end)
    }

    /// Reads a file from the line of a turn of the user on. It has no header then.
    pub(super) fn read_tail(path: &Path, offset: u64) -> Result<Self, Error> {
        Self::read_lines(path, offset, None)
    }

    fn read_lines(path: &Path, offset: u64, end: Option<i64>) -> Result<Self, Error> {
        let mut rollout = Self {
            path: path.to_owned(),
            settled: offset,
            // A turn is settled only behind a message.
            has_messages: offset > 0,
            ..Self::default()
        };
        rollout.unparsable_lines =
            jsonl::for_each_object_from(path, offset, |line: Line, start| {
                let is_below = |end| line.ordinal.0.is_some_and(|ordinal| ordinal < end);
                let is_wanted = end.is_none_or(is_below);
                rollout.first = rollout.first.or(start);
                // A line without a time takes the header's.
                let has_time = line.timestamp.0.is_some();
                let drafts = rollout.drafts.len();
                rollout.line(line, is_wanted);
                let is_of_user = |draft: &Timed<Draft>| {
                    draft.item.role == Role::User && !draft.item.content.is_empty()
                };
                let is_turn = rollout.has_messages
                    && rollout.drafts.len() > drafts
                    && rollout.drafts.last().is_some_and(is_of_user);
                if let Some(start) = start.filter(|_| is_turn && has_time) {
                    rollout.settled = start;
                }
                true
            })?;
        Ok(rollout)
    }

    /// Returns the id of the thread. `None` if header and file name disagree.
    pub(super) fn thread_id(&self) -> Option<String> {
        let header = self.header.as_ref().and_then(|header| header.id.clone());
        match (RolloutName::of(&self.path), header) {
            (Some(name), Some(id)) => (name.thread == id).then_some(id),
            (Some(name), None) => Some(name.thread),
            (None, Some(id)) => Some(id),
            (None, None) => Some(crate::file_name::file_stem(&self.path)),
        }
    }

    pub(super) fn working_dir(&self) -> Option<&str> {
        self.header.as_ref()?.cwd.as_deref()
    }

    /// Returns the rollout that this one begins with, and the ordinal at which it ends there.
    pub(super) fn base(&self) -> Option<(&str, i64)> {
        let base = self.header.as_ref()?.base.as_ref()?;
        let end = base.end_ordinal_exclusive.0.unwrap_or(i64::MAX);
        Some((base.thread_id.0.as_deref()?, end))
    }

    /// Returns the thread that this one was forked from, as the header has it.
    pub(super) fn forked_from(&self) -> Option<&str> {
        self.header.as_ref()?.forked_from.as_deref()
    }

    fn line(&mut self, line: Line, is_wanted: bool) {
        let timestamp = line.timestamp.0;
        let time = timestamp.as_deref().and_then(time::from_rfc3339);
        self.latest = self.latest.max(time);
        let is_summary = line.metadata.is_of_compaction();
        let kind = line.kind.0.as_deref();
        let Some(payload) = line.payload.0 else {
            match kind {
                // The header of a file without envelopes.
                None if line.id.0.is_some() => self.header(Header {
                    id: line.id.0,
                    timestamp,
                    ..Header::default()
                }),
                Some("message") => {
                    let bare = Payload {
                        id: line.id,
                        role: line.role,
                        content: line.content,
                        ..Payload::default()
                    };
                    self.message(bare, timestamp, is_wanted && !is_summary);
                }
                _ => {}
            }
            return;
        };
        let is_wanted = is_wanted && !is_summary && !payload.metadata.is_of_compaction();
        match (kind, payload.kind.0.as_deref()) {
            (Some("session_meta"), _) => self.header(Header {
                id: payload.id.0,
                cwd: payload.cwd.0,
                timestamp: payload.timestamp.0.or(timestamp),
                base: payload.history_base.0,
                forked_from: payload.forked_from_id.0,
            }),
            (Some("response_item"), Some("message")) => self.message(payload, timestamp, is_wanted),
            (Some("realtime_item"), Some("transcript_segment")) => {
                let text = payload.text.0.unwrap_or_default();
                let draft = self.draft(payload.role.0, join([text]), payload.id.0, timestamp);
                self.drafts.extend(draft.filter(|_| is_wanted));
            }
            (Some("event_msg"), Some("item_completed")) if is_wanted => {
                self.event(payload, timestamp);
            }
            (Some("event_msg"), Some("thread_name_updated")) => {
                self.title = payload.thread_name.0.or(self.title.take());
            }
            _ => {}
        }
    }

    /// Keeps the first header. Later ones were copied by a fork or repeated by a resume.
    fn header(&mut self, header: Header) {
        self.header.get_or_insert_with(|| Header {
            id: header.id.filter(|id| !id.is_empty()),
            ..header
        });
    }

    fn message(&mut self, message: Payload, timestamp: Option<String>, is_wanted: bool) {
        let is_user = message.role.0.as_deref() == Some("user");
        let content = message.content.0.unwrap_or_default();
        let kinds = message.passthrough.0.and_then(|it| it.content_item_kinds.0);
        let kinds = kinds.filter(|kinds| kinds.len() == content.blocks);
        let said = content
            .parts()
            .filter(|part| !is_user || is_of_user(part, kinds.as_deref()));
        let text = join(said.map(|part| part.text));
        let draft = self.draft(message.role.0, text, message.id.0, timestamp);
        if draft.is_some() {
            self.has_messages = true;
            for index in self.events.drain(..) {
                self.drafts[index].item.content.clear();
            }
        }
        self.drafts.extend(draft.filter(|_| is_wanted));
    }

    fn event(&mut self, event: Payload, timestamp: Option<String>) {
        let Some(item) = event.item.0.filter(|_| !self.has_messages) else {
            return;
        };
        let role = match item.kind.0.as_deref() {
            Some("UserMessage") => "user",
            Some("AgentMessage") => "assistant",
            _ => return,
        };
        let id = item.id.0;
        if id.clone().is_some_and(|id| !self.event_ids.insert(id)) {
            return;
        }
        let content = item.content.0.unwrap_or_default();
        let text = join(Content::texts(&content));
        self.events.push(self.drafts.len());
        let draft = self.draft(Some(role.to_owned()), text, id, timestamp);
        self.drafts.extend(draft);
    }

    /// Makes a draft if the role is one of a turn. A line without a time takes the header's.
    fn draft(
        &self,
        role: Option<String>,
        content: String,
        id: Option<String>,
        timestamp: Option<String>,
    ) -> Option<Timed<Draft>> {
        let role: Role = turn_role(&role?)?;
        let timestamp = timestamp.or_else(|| self.header.as_ref()?.timestamp.clone());
        let time = timestamp.as_deref().and_then(time::from_rfc3339);
        let item = Draft {
            role,
            content,
            timestamp: time,
            id,
            earlier_ids: Vec::new(),
        };
        Some(Timed { time, item })
    }
}

/// Whether a person wrote a block of the user's role. Since 2026 a message tells the kind of each block.
fn is_of_user(part: &Part<'_>, kinds: Option<&[String]>) -> bool {
    let kind = kinds
        .and_then(|kinds| kinds.get(part.block))
        .map(String::as_str);
    match kind {
        Some("user.text") => {
            let mut kinds = kinds.unwrap_or_default().iter();
            let has_attachment = kinds.any(|kind| kind == "user.image" || kind == "user.audio");
            !(has_attachment && is_attachment_tag(part.text))
        }
        Some(kind) if !kind.starts_with("user.") => false,
        _ => !is_program_text(part.text),
    }
}
