//! Finds the messages of a recording that a store does not have yet.
//!
//! A history is append-only. A message that was stored half-written stays as it is, and its rest becomes a
//! further turn. The turns that hold one message are its *parts*.

use std::collections::{HashMap, HashSet};

use turnkeep_model::{ConversationTurn, MessageKey, NewMessage, Role};

use crate::content::is_blank;
use crate::key::{Fingerprint, is_derived, is_of_history};
use crate::message::{KeyOrigin, RecordedMessage};

/// See [`Recording::new_messages`](crate::Recording::new_messages).
pub(crate) fn new_messages<'a>(
    recorded: &'a [RecordedMessage],
    stored: &[ConversationTurn],
) -> Vec<NewMessage<'a>> {
    let history = History::new(recorded, stored);
    let mut numbers: HashMap<(Role, &str), u64> = HashMap::new();
    let mut new = Vec::new();
    // A message without a time takes the time of the message before it, not of the import.
    let mut time = recorded.iter().find_map(|message| message.timestamp);
    // The index in the history after the previous message, if it is known.
    let mut start = Some(0);
    for (index, message) in recorded.iter().enumerate() {
        time = message.timestamp.or(time);
        let number = numbers
            .entry((message.role, message.content.trim_end()))
            .or_default();
        *number += 1;
        let lookup = match message.origin {
            KeyOrigin::Agent => history.find_by_id(message, *number),
            KeyOrigin::Content => {
                let is_last = index + 1 == recorded.len();
                history.find_by_content(message, start, is_last)
            }
        };
        start = match lookup {
            Lookup::Stored { end } => Some(end),
            Lookup::Missing { content, key } => {
                let turn = NewMessage::new(message.role, content).key(key);
                new.push(match time {
                    Some(timestamp) => turn.timestamp(timestamp),
                    None => turn,
                });
                None
            }
        };
    }
    new
}

/// Whether the history has a turn from a transcript. It has all prompts of the session then.
pub(crate) fn has_transcript(stored: &[ConversationTurn]) -> bool {
    let keys = stored.iter().filter_map(|turn| turn.message_key.as_ref());
    keys.into_iter().any(|key| !is_of_history(key.as_str()))
}

/// The result of looking a message up in the history.
enum Lookup<'a> {
    /// The history has all of the message. Its last part is at index `end - 1`.
    Stored { end: usize },
    /// The history lacks this text of the message, to be stored under this key.
    Missing { content: &'a str, key: MessageKey },
}

struct History<'a> {
    stored: &'a [ConversationTurn],
    by_key: HashMap<&'a str, usize>,
    /// The keys in the recording.
    recorded: HashSet<&'a str>,
    /// Whether any turn is an orphan, see [`History::is_orphan`].
    has_orphans: bool,
}

impl<'a> History<'a> {
    fn new(recorded: &'a [RecordedMessage], stored: &'a [ConversationTurn]) -> Self {
        let keys = stored.iter().enumerate().filter_map(|(index, turn)| {
            let key = turn.message_key.as_ref()?;
            Some((key.as_str(), index))
        });
        let mut history = Self {
            stored,
            by_key: keys.collect(),
            recorded: recorded.iter().map(|m| m.key.as_str()).collect(),
            has_orphans: false,
        };
        history.has_orphans = stored.iter().any(|turn| history.is_orphan(turn));
        history
    }

    /// Looks up a message by the agent's id. Its parts have the keys `<id>`, `<id>#2`, `<id>#3`, …
    fn find_by_id<'m>(&self, message: &'m RecordedMessage, number: u64) -> Lookup<'m> {
        let id = &message.key;
        let content = message.content.as_str();
        let Some(&first) = self.by_key.get(id.as_str()) else {
            return match self.find_orphan(message, number) {
                Some(index) => Lookup::Stored { end: index + 1 },
                None => Lookup::Missing {
                    content,
                    key: id.clone(),
                },
            };
        };
        let mut next_key = None;
        let further = (2_u64..).map_while(|part| {
            let key = format!("{id}#{part}");
            // The agent may have given such an id to another message.
            let is_own_id = self.recorded.contains(key.as_str());
            let index = self.by_key.get(key.as_str()).filter(|_| !is_own_id);
            if index.is_none() && !is_own_id {
                next_key = MessageKey::new(key).ok();
            }
            index.copied()
        });
        let mut end = first;
        let parts = std::iter::once(first)
            .chain(further)
            .inspect(|index| end = end.max(index + 1))
            .map(|index| &self.stored[index])
            .take_while(|turn| turn.role == message.role);
        let matched = match_parts(parts.map(|turn| turn.content.as_str()), content);
        let (content, key) = match matched.rest {
            Rest::Empty | Rest::Exceeded => return Lookup::Stored { end },
            Rest::Missing(rest) if matched.parts > 0 => (rest, next_key),
            _ => (content, None),
        };
        let key = key
            .unwrap_or_else(|| Fingerprint::of_revision(id, message.role, &message.content).key(1));
        match self.by_key.get(key.as_str()) {
            Some(index) => Lookup::Stored { end: index + 1 },
            None => Lookup::Missing { content, key },
        }
    }

    /// Finds the turn that was stored when the message had no id yet. Goose adds ids to old messages when it
    /// moves them into its database.
    fn find_orphan(&self, message: &RecordedMessage, number: u64) -> Option<usize> {
        if !self.has_orphans {
            return None;
        }
        let key = Fingerprint::of_turn(message.role, &message.content).key(number);
        let index = *self.by_key.get(key.as_str())?;
        self.is_orphan(&self.stored[index]).then_some(index)
    }

    /// Looks up a message without an id. If its text has grown since it was stored, or is older than the
    /// stored one, the key differs. Its parts are then the orphans directly after the previous message.
    fn find_by_content<'m>(
        &self,
        message: &'m RecordedMessage,
        start: Option<usize>,
        is_last: bool,
    ) -> Lookup<'m> {
        if let Some(index) = self.by_key.get(message.key.as_str()) {
            return Lookup::Stored { end: index + 1 };
        }
        let missing = |content| Lookup::Missing {
            content,
            key: message.key.clone(),
        };
        let content = message.content.as_str();
        let Some(start) = start else {
            return missing(content);
        };
        let parts = self.stored[start..]
            .iter()
            .take_while(|turn| turn.role == message.role && self.is_orphan(turn))
            .map(|turn| turn.content.as_str());
        let matched = match_parts(parts, content);
        let end = start + matched.parts;
        let is_end = end == self.stored.len();
        match matched.rest {
            Rest::Empty => Lookup::Stored { end },
            // Only the last message of a copy can be half-written.
            Rest::Exceeded if is_last => Lookup::Stored { end },
            Rest::Missing(rest) if matched.parts > 0 && is_end => missing(rest),
            _ => missing(content),
        }
    }

    /// Whether a turn has a derived key that is not in this recording.
    fn is_orphan(&self, turn: &ConversationTurn) -> bool {
        turn.message_key
            .as_ref()
            .is_some_and(|key| is_derived(key.as_str()) && !self.recorded.contains(key.as_str()))
    }
}

/// The part of a message's text that is stored.
struct Match<'a> {
    /// The number of parts that match the text.
    parts: usize,
    rest: Rest<'a>,
}

/// The text of a message after its matching parts.
enum Rest<'a> {
    /// The parts have the whole text.
    Empty,
    /// The parts have the whole text and more.
    Exceeded,
    /// The parts lack this text, which is not blank.
    Missing(&'a str),
    /// A part differs from the text.
    Different,
}

/// Matches the parts with `content`, one after the other. A newline between two parts belongs to neither.
fn match_parts<'a, 'p>(parts: impl Iterator<Item = &'p str>, content: &'a str) -> Match<'a> {
    let mut rest = content;
    let mut matched = 0;
    for part in parts {
        // An import stores no empty turn. An empty one would match any text.
        if part.is_empty() {
            break;
        }
        let after_newline = rest.strip_prefix('\n').filter(|_| matched > 0);
        let mut starts = std::iter::once(rest).chain(after_newline);
        match starts.clone().find_map(|start| start.strip_prefix(part)) {
            Some(after) => rest = after,
            None => {
                let is_exceeded = starts.any(|start| part.starts_with(start));
                return Match {
                    parts: matched + usize::from(is_exceeded),
                    rest: match is_exceeded {
                        true => Rest::Exceeded,
                        false => Rest::Different,
                    },
                };
            }
        }
        matched += 1;
        if is_blank(rest) {
            break;
        }
    }
    if matched > 0 {
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    Match {
        parts: matched,
        rest: match is_blank(rest) {
            true => Rest::Empty,
            false => Rest::Missing(rest),
        },
    }
}

#[cfg(test)]
mod tests;
