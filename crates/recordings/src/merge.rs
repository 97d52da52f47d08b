//! What a store lacks of a recording.
//!
//! A history is append-only, so a message that was stored half-written stays as it is, and what
//! it has grown by becomes a further turn. The turns that hold one message are its *parts*.

use std::collections::{HashMap, HashSet};

use turnkeep_model::{ConversationTurn, MessageKey, NewMessage, Role};

use crate::content::is_blank;
use crate::key::{Fingerprint, is_derived};
use crate::message::{KeyOrigin, RecordedMessage};

/// See [`Recording::new_messages`](crate::Recording::new_messages).
pub(crate) fn new_messages<'a>(
    recorded: &'a [RecordedMessage],
    stored: &[ConversationTurn],
) -> Vec<NewMessage<'a>> {
    let history = History::new(recorded, stored);
    let mut numbers: HashMap<(Role, &str), u64> = HashMap::new();
    let mut new = Vec::new();
    // A turn without a time takes that of the turn before it: the clock's would be that of the import.
    let mut time = recorded.iter().find_map(|message| message.timestamp);
    // Where the message before ends in the history, if that is known.
    let mut before = Some(0);
    for (index, message) in recorded.iter().enumerate() {
        time = message.timestamp.or(time);
        let number = numbers
            .entry((message.role, message.content.trim_end()))
            .or_default();
        *number += 1;
        let place = match message.origin {
            KeyOrigin::Agent => history.place_by_id(message, *number),
            KeyOrigin::Content => {
                let is_last = index + 1 == recorded.len();
                history.place_by_content(message, before, is_last)
            }
        };
        before = match place {
            Place::Stored { end } => Some(end),
            Place::Missing { content, key } => {
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

/// What the history has of a message.
enum Place<'a> {
    /// All of it, the last part just before index `end`.
    Stored { end: usize },
    /// Not this much of its text, which is to be stored under this key.
    Missing { content: &'a str, key: MessageKey },
}

struct History<'a> {
    stored: &'a [ConversationTurn],
    by_key: HashMap<&'a str, usize>,
    /// The keys of the recording.
    recorded: HashSet<&'a str>,
    /// Whether any turn was stored from a recording in which it had no id, and is not in this
    /// one under the same key.
    has_unclaimed: bool,
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
            has_unclaimed: false,
        };
        history.has_unclaimed = stored.iter().any(|turn| history.is_unclaimed(turn));
        history
    }

    /// A message that has the agent's id. Its parts have the keys `<id>`, `<id>#2`, `<id>#3`, …
    fn place_by_id<'m>(&self, message: &'m RecordedMessage, number: u64) -> Place<'m> {
        let id = &message.key;
        let content = message.content.as_str();
        let Some(&first) = self.by_key.get(id.as_str()) else {
            return match self.without_id(message, number) {
                Some(index) => Place::Stored { end: index + 1 },
                None => Place::Missing {
                    content,
                    key: id.clone(),
                },
            };
        };
        let mut next_key = None;
        let further = (2_u64..).map_while(|part| {
            let key = format!("{id}#{part}");
            // The agent may itself have used such an id.
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
        let walk = walk(parts.map(|turn| turn.content.as_str()), content);
        let (content, key) = match walk.rest {
            Rest::Nothing | Rest::Overtaken => return Place::Stored { end },
            Rest::More(rest) if walk.parts > 0 => (rest, next_key),
            _ => (content, None),
        };
        let key = key
            .unwrap_or_else(|| Fingerprint::of_revision(id, message.role, &message.content).key(1));
        match self.by_key.get(key.as_str()) {
            Some(index) => Place::Stored { end: index + 1 },
            None => Place::Missing { content, key },
        }
    }

    /// The turn that was stored from a recording in which the message had no id yet: Goose gives
    /// ids to old messages when it moves them into its database.
    fn without_id(&self, message: &RecordedMessage, number: u64) -> Option<usize> {
        if !self.has_unclaimed {
            return None;
        }
        let key = Fingerprint::of_turn(message.role, &message.content).key(number);
        let index = *self.by_key.get(key.as_str())?;
        self.is_unclaimed(&self.stored[index]).then_some(index)
    }

    /// A message without an id. If it has grown, or is an older copy of one that has, its parts
    /// are recognised by where they stand: right after the message before, and under keys that
    /// no message of the recording has.
    fn place_by_content<'m>(
        &self,
        message: &'m RecordedMessage,
        before: Option<usize>,
        is_last: bool,
    ) -> Place<'m> {
        if let Some(index) = self.by_key.get(message.key.as_str()) {
            return Place::Stored { end: index + 1 };
        }
        let missing = |content| Place::Missing {
            content,
            key: message.key.clone(),
        };
        let content = message.content.as_str();
        let Some(before) = before else {
            return missing(content);
        };
        let parts = self.stored[before..]
            .iter()
            .take_while(|turn| turn.role == message.role && self.is_unclaimed(turn))
            .map(|turn| turn.content.as_str());
        let walk = walk(parts, content);
        let end = before + walk.parts;
        let is_end = end == self.stored.len();
        match walk.rest {
            Rest::Nothing => Place::Stored { end },
            // Only the last message of a copy can be half-written.
            Rest::Overtaken if is_last => Place::Stored { end },
            Rest::More(rest) if walk.parts > 0 && is_end => missing(rest),
            _ => missing(content),
        }
    }

    /// Whether a turn came from a recording under a derived key that this recording doesn't have.
    fn is_unclaimed(&self, turn: &ConversationTurn) -> bool {
        turn.message_key
            .as_ref()
            .is_some_and(|key| is_derived(key.as_str()) && !self.recorded.contains(key.as_str()))
    }
}

/// How far the parts of a message go through its text.
struct Walk<'a> {
    /// How many parts match.
    parts: usize,
    rest: Rest<'a>,
}

enum Rest<'a> {
    /// The parts have the whole text.
    Nothing,
    /// The parts have the whole text and go on.
    Overtaken,
    /// The parts lack this, which is not blank.
    More(&'a str),
    /// A part says something else.
    Other,
}

/// Follows the parts through `content`. A newline between two of them belongs to neither.
fn walk<'a, 'p>(parts: impl Iterator<Item = &'p str>, content: &'a str) -> Walk<'a> {
    let mut rest = content;
    let mut matched = 0;
    for part in parts {
        // A reader stores no empty turn, and one would match everything.
        if part.is_empty() {
            break;
        }
        let after_newline = rest.strip_prefix('\n').filter(|_| matched > 0);
        let mut starts = std::iter::once(rest).chain(after_newline);
        match starts.clone().find_map(|start| start.strip_prefix(part)) {
            Some(after) => rest = after,
            None => {
                let is_overtaken = starts.any(|start| part.starts_with(start));
                return Walk {
                    parts: matched + usize::from(is_overtaken),
                    rest: match is_overtaken {
                        true => Rest::Overtaken,
                        false => Rest::Other,
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
    Walk {
        parts: matched,
        rest: match is_blank(rest) {
            true => Rest::Nothing,
            false => Rest::More(rest),
        },
    }
}

#[cfg(test)]
mod tests;
