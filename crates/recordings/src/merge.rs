//! Finds the messages of a recording that a store does not have yet.
//!
//! A history is append-only. A message that was stored half-written stays as it is, and its rest becomes a
//! further turn. The turns that hold one message are its *parts*.

use std::collections::{BTreeMap, HashMap, HashSet};

use turnkeep_model::{ConversationTurn, MessageKey, NewMessage};

use crate::content::is_blank;
use crate::key::{Fingerprint, is_agent_id, is_derived, is_enqueued, is_of_history, is_of_hook};
use crate::message::{KeyOrigin, RecordedMessage};

mod hooks;

use hooks::HookTurns;

/// See [`Recording::new_messages`](crate::Recording::new_messages).
pub(crate) fn new_messages<'a>(
    recorded: &'a [RecordedMessage],
    stored: &[ConversationTurn],
) -> Vec<NewMessage<'a>> {
    let mut history = History::new(recorded, stored);
    let mut new = Vec::new();
    // A message without a time takes the time of the message before it, not of the import.
    let mut time = recorded.iter().find_map(|message| message.timestamp);
    for message in recorded {
        time = message.timestamp.or(time);
        let lookup = match message.origin {
            KeyOrigin::Agent => history.find_by_id(message),
            KeyOrigin::Content => history.find_by_content(message),
            // The words of an event follow each other, so after a new one all are new.
            KeyOrigin::Hook => history.find_reported(message, !new.is_empty()),
        };
        let lookup = history.without_reported(message, lookup);
        if let Lookup::Missing { content, key } = lookup {
            let turn = NewMessage::new(message.role, content).key(key);
            new.push(match time {
                Some(timestamp) => turn.timestamp(timestamp),
                None => turn,
            });
        }
    }
    new
}

/// Whether the history has a turn from a transcript. It has all prompts of the session then.
pub(crate) fn has_transcript(stored: &[ConversationTurn]) -> bool {
    let keys = stored.iter().filter_map(|turn| turn.message_key.as_ref());
    keys.into_iter()
        .any(|key| !is_of_history(key.as_str()) && !is_of_hook(key.as_str()))
}

/// The result of looking a message up in the history.
enum Lookup<'a> {
    /// The history has all of the message.
    Stored,
    /// The history lacks this text of the message, to be stored under this key.
    Missing { content: &'a str, key: MessageKey },
}

struct History<'a> {
    stored: &'a [ConversationTurn],
    by_key: HashMap<&'a str, usize>,
    /// The keys in the recording.
    recorded: HashSet<&'a str>,
    orphans: Orphans,
    hooks: HookTurns<'a>,
}

impl<'a> History<'a> {
    fn new(recorded: &'a [RecordedMessage], stored: &'a [ConversationTurn]) -> Self {
        let keys = stored.iter().enumerate().filter_map(|(index, turn)| {
            let key = turn.message_key.as_ref()?;
            Some((key.as_str(), index))
        });
        let recorded: HashSet<_> = recorded
            .iter()
            .flat_map(|message| std::iter::once(&message.key).chain(&message.earlier_keys))
            .map(MessageKey::as_str)
            .collect();
        let mut orphans = Orphans::default();
        for turn in stored {
            let key = turn.message_key.as_ref().map(MessageKey::as_str);
            if !key.is_some_and(|key| recorded.contains(key) || is_of_hook(key)) {
                orphans.add(turn);
            }
        }
        Self {
            stored,
            by_key: keys.collect(),
            recorded,
            orphans,
            hooks: HookTurns::new(stored),
        }
    }

    /// Looks up a message by the agent's id. Its parts have its earlier keys and then `<id>`, `<id>#2`,
    /// `<id>#3`, …
    fn find_by_id<'m>(&mut self, message: &'m RecordedMessage) -> Lookup<'m> {
        let id = &message.key;
        let content = message.content.as_str();
        let known = message.earlier_keys.iter().chain([id]);
        let known: Vec<_> = known
            .filter_map(|key| self.by_key.get(key.as_str()).copied())
            .collect();
        if known.is_empty() {
            return match self.orphans.take(message) {
                true => Lookup::Stored,
                false => Lookup::Missing {
                    content,
                    key: id.clone(),
                },
            };
        }
        let mut next_key = match self.by_key.contains_key(id.as_str()) {
            true => None,
            false => Some(id.clone()),
        };
        let further = (2_u64..).map_while(|part| {
            let key = format!("{id}#{part}");
            // The agent may have given such an id to another message.
            let is_own_id = self.recorded.contains(key.as_str());
            let index = self.by_key.get(key.as_str()).filter(|_| !is_own_id);
            if index.is_none() && !is_own_id && next_key.is_none() {
                next_key = MessageKey::new(key).ok();
            }
            index.copied()
        });
        let parts = known
            .into_iter()
            .chain(further)
            .map(|index| &self.stored[index])
            .take_while(|turn| turn.role == message.role);
        let parts: Vec<_> = parts.map(|turn| turn.content.as_str()).collect();
        let is_whole = |parts: &[&str]| words(parts).eq(content.split_whitespace());
        if is_whole(&parts) || parts.iter().any(|part| is_whole(&[part])) {
            return Lookup::Stored;
        }
        let matched = match_parts(parts.into_iter(), content);
        let (content, key) = match matched.rest {
            Rest::Empty | Rest::Exceeded => return Lookup::Stored,
            Rest::Missing(rest) if matched.parts > 0 => (rest, next_key),
            // A prompt of which an earlier line had another text.
            _ if !self.by_key.contains_key(id.as_str()) => (content, next_key),
            _ => (content, None),
        };
        let key = key
            .unwrap_or_else(|| Fingerprint::of_revision(id, message.role, &message.content).key(1));
        match self.by_key.contains_key(key.as_str()) {
            true => Lookup::Stored,
            false => Lookup::Missing { content, key },
        }
    }

    /// Looks up a message without an id. A file has such a message whole or, cut, not at all, so one with
    /// another text is another message.
    fn find_by_content<'m>(&mut self, message: &'m RecordedMessage) -> Lookup<'m> {
        let is_stored = self.by_key.contains_key(message.key.as_str());
        if is_stored || self.orphans.take(message) {
            return Lookup::Stored;
        }
        Lookup::Missing {
            content: &message.content,
            key: message.key.clone(),
        }
    }

    /// Looks up a message that a hook reports. `is_after_new` if one before it in the same event is missing.
    fn find_reported<'m>(&self, message: &'m RecordedMessage, is_after_new: bool) -> Lookup<'m> {
        let is_known = self.by_key.contains_key(message.key.as_str());
        if is_known || !is_after_new && hooks::has_reported(self.stored, message) {
            return Lookup::Stored;
        }
        Lookup::Missing {
            content: &message.content,
            key: message.key.clone(),
        }
    }

    /// Leaves out the words of a message that a hook has reported.
    fn without_reported<'m>(
        &mut self,
        message: &RecordedMessage,
        mut lookup: Lookup<'m>,
    ) -> Lookup<'m> {
        if message.origin == KeyOrigin::Hook {
            return lookup;
        }
        while let Lookup::Missing { content, key } = lookup {
            lookup = match self.hooks.take(message, content) {
                None => return Lookup::Missing { content, key },
                Some(rest) if is_blank(rest) => Lookup::Stored,
                Some(rest) => Lookup::Missing { content: rest, key },
            };
        }
        lookup
    }
}

/// The numbers of turns that no key of the recording names. Each turn may be one message with its text.
#[derive(Default)]
struct Orphans {
    /// Turns whose key is not an agent's id, by their text:
    /// - stored when the message had no id. Goose adds ids to old messages when it moves them into its database;
    /// - appended by an orchestrator, without a key or with one of its own;
    /// - imported from the history or the queue of Claude Code.
    by_text: HashMap<Fingerprint, u64>,
    /// The other turns, by their text and time. Goose gives messages new ids when it compacts a session.
    by_time: HashMap<Fingerprint, BTreeMap<i64, u64>>,
}

impl Orphans {
    fn add(&mut self, turn: &ConversationTurn) {
        let text = Fingerprint::of_turn(turn.role, &turn.content);
        let key = turn.message_key.as_ref().map(MessageKey::as_str);
        let is_of_no_agent =
            key.is_none_or(|key| !is_agent_id(key) && !is_derived(key) || text.is_in(key));
        let count = match is_of_no_agent {
            true => self.by_text.entry(text).or_default(),
            false => {
                let by_time = self.by_time.entry(text).or_default();
                // A store keeps microseconds.
                by_time
                    .entry(turn.timestamp.timestamp_micros())
                    .or_default()
            }
        };
        *count += 1;
    }

    /// Takes a turn for a message. Returns `false` if there is none left.
    fn take(&mut self, message: &RecordedMessage) -> bool {
        let text = Fingerprint::of_turn(message.role, &message.content);
        let time = message.timestamp.map(|time| time.timestamp_micros());
        if let (Some(by_time), Some(time)) = (self.by_time.get_mut(&text), time) {
            let latest = match is_enqueued(message.key.as_str()) {
                // An older copy has the prompt, and the store has the line that repeats it.
                true => i64::MAX,
                false => time,
            };
            if let Some((&time, count)) = by_time.range_mut(time..=latest).next() {
                *count -= 1;
                if *count == 0 {
                    by_time.remove(&time);
                }
                return true;
            }
        }
        let count = self.by_text.get_mut(&text).filter(|count| **count > 0);
        count.map(|count| *count -= 1).is_some()
    }
}

fn words<'a>(parts: &[&'a str]) -> impl Iterator<Item = &'a str> {
    parts.iter().flat_map(|part| part.split_whitespace())
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
