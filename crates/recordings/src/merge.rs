//! Finds the messages of a recording that a store does not have yet.
//!
//! A history is append-only. A message that was stored half-written stays as it is, and its rest becomes a
//! further turn. The turns that hold one message are its *parts*.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use turnkeep_model::{ConversationTurn, MessageKey, NewMessage, Role, TaskId};

use crate::content::is_blank;
use crate::key::{Fingerprint, is_agent_id, is_enqueued, is_of_history, is_of_hook};
use crate::message::{KeyOrigin, RecordedMessage};
use crate::orphans::{Derived, Orphans, micros};
use crate::repeats::Repeats;

mod hooks;

use hooks::HookTurns;

/// The time by which a prompt may stand in the history or the queue of Claude Code before the first line of
/// its session.
const BEFORE_SESSION: TimeDelta = TimeDelta::minutes(1);

/// See [`Recording::new_messages`](crate::Recording::new_messages). `is_own_task` tells the tasks that an
/// import makes for the recording.
pub(crate) fn new_messages<'a>(
    recorded: &'a [RecordedMessage],
    withdrawn: &[MessageKey],
    stored: &[ConversationTurn],
    is_own_task: &dyn Fn(&TaskId) -> bool,
) -> Vec<NewMessage<'a>> {
    let mut history = History::new(recorded, withdrawn, stored, is_own_task);
    let mut new = Vec::new();
    // A message without a time takes the time of the message before it, not of the import.
    let mut time = recorded.iter().find_map(|message| message.timestamp);
    for (index, message) in recorded.iter().enumerate() {
        time = message.timestamp.or(time);
        let message = Timed {
            message,
            index,
            time,
        };
        let lookup = match message.message.origin {
            KeyOrigin::Agent => history.find_by_id(&message),
            KeyOrigin::Content => history.find_by_content(&message),
            // The words of an event follow each other, so after a new one all are new.
            KeyOrigin::Hook => history.find_reported(message.message, !new.is_empty()),
        };
        let lookup = history.without_reported(message.message, lookup);
        if let Lookup::Missing { content, key } = lookup {
            let turn = NewMessage::new(message.message.role, content).key(key);
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

/// A message of a recording with the time under which it is stored.
struct Timed<'m> {
    message: &'m RecordedMessage,
    /// Its number in the recording.
    index: usize,
    time: Option<DateTime<Utc>>,
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
    derived: Derived,
    /// The turns that no key of the recording names.
    orphans: Orphans,
    /// Enqueued prompts among these turns, by their indexes.
    prompts: Repeats,
    /// The messages that are enqueued prompts, and that a stored line of the transcript repeats.
    repeated: HashSet<usize>,
    hooks: HookTurns<'a>,
}

impl<'a> History<'a> {
    fn new(
        recorded: &'a [RecordedMessage],
        withdrawn: &'a [MessageKey],
        stored: &'a [ConversationTurn],
        is_own_task: &dyn Fn(&TaskId) -> bool,
    ) -> Self {
        let keys = stored.iter().enumerate().filter_map(|(index, turn)| {
            let key = turn.message_key.as_ref()?;
            Some((key.as_str(), index))
        });
        let mut history = Self {
            stored,
            by_key: keys.collect(),
            recorded: recorded
                .iter()
                .flat_map(|message| std::iter::once(&message.key).chain(&message.earlier_keys))
                .chain(withdrawn)
                .map(MessageKey::as_str)
                .collect(),
            derived: Derived::default(),
            orphans: Orphans::default(),
            prompts: Repeats::default(),
            repeated: HashSet::new(),
            hooks: HookTurns::new(stored),
        };
        let first = recorded.iter().filter_map(|it| it.timestamp).min();
        for (index, turn) in stored.iter().enumerate() {
            history.add(index, turn, first, is_own_task);
        }
        history.find_repeated(recorded);
        history
    }

    /// Adds a turn to those that may be a message without their key. `first` is the first time in the recording.
    fn add(
        &mut self,
        index: usize,
        turn: &ConversationTurn,
        first: Option<DateTime<Utc>>,
        is_own_task: &dyn Fn(&TaskId) -> bool,
    ) {
        let Some(key) = turn.message_key.as_ref().map(MessageKey::as_str) else {
            return self.orphans.add_untimed(turn);
        };
        let is_named = self.recorded.contains(key) || is_of_hook(key);
        if let Some((text, number)) = Fingerprint::of_key(key) {
            // The other derived keys are those of a message that has changed under its id.
            if is_named || text == Fingerprint::of_turn(turn.role, &turn.content) {
                self.derived.add(text, number, turn.timestamp);
            } else {
                self.orphans.add_timed(turn);
            }
            return;
        }
        if is_named {
            return;
        }
        // The history and the queue may have prompts of an earlier session of the task.
        let is_of_session = first.is_none_or(|first| turn.timestamp >= first - BEFORE_SESSION);
        if is_enqueued(key) {
            if is_of_session {
                self.prompts.add(&turn.content, index);
            }
        } else if is_of_history(key) {
            if is_of_session {
                self.orphans.add_untimed(turn);
            }
        } else if is_agent_id(key) || is_own_task(&turn.task_id) {
            self.orphans.add_timed(turn);
        } else {
            self.orphans.add_untimed(turn);
        }
    }

    /// Finds the enqueued prompts of an older copy that a stored line of the transcript repeats.
    fn find_repeated(&mut self, recorded: &[RecordedMessage]) {
        let mut missing = Repeats::default();
        for (index, message) in recorded.iter().enumerate() {
            let key = message.key.as_str();
            if is_enqueued(key) && !self.by_key.contains_key(key) {
                missing.add(&message.content, index);
            }
        }
        for turn in self.stored {
            let key = turn.message_key.as_ref().map(MessageKey::as_str);
            let is_line = key.is_some_and(|key| {
                let is_prompt = is_enqueued(key) || is_of_history(key) || is_of_hook(key);
                !is_prompt && !self.recorded.contains(key)
            });
            if is_line && turn.role == Role::User && !missing.is_empty() {
                let is_earlier = |index: usize| {
                    let time = recorded[index].timestamp;
                    time.is_none_or(|time| micros(time) <= micros(turn.timestamp))
                };
                self.repeated
                    .extend(missing.take(&turn.content, is_earlier));
            }
        }
    }

    /// Looks up a message by the agent's id. Its parts have its earlier keys and then `<id>`, `<id>#2`,
    /// `<id>#3`, …
    fn find_by_id<'m>(&mut self, timed: &Timed<'m>) -> Lookup<'m> {
        let message = timed.message;
        let id = &message.key;
        let content = message.content.as_str();
        let known = message.earlier_keys.iter().chain([id]);
        let known: Vec<_> = known
            .filter_map(|key| self.by_key.get(key.as_str()).copied())
            .collect();
        let is_known = !known.is_empty();
        if !is_known && self.take(timed) {
            return Lookup::Stored;
        }
        let mut next_key = match self.by_key.contains_key(id.as_str()) {
            true => None,
            false => Some(id.clone()),
        };
        let further = (2_u64..).take_while(|_| is_known);
        let further = further.map_while(|part| {
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
        let mut parts: Vec<_> = parts.map(|turn| turn.content.as_str()).collect();
        let is_whole = |parts: &[&str]| words(parts).eq(content.split_whitespace());
        let is_stored =
            |parts: &[&str]| is_whole(parts) || parts.iter().any(|part| is_whole(&[part]));
        if is_stored(&parts) {
            return Lookup::Stored;
        }
        let prompts = self.take_prompts(timed).into_iter();
        parts.splice(
            ..0,
            prompts.map(|index| self.stored[index].content.as_str()),
        );
        if is_stored(&parts) {
            return Lookup::Stored;
        }
        let matched = match_parts(parts.into_iter(), content);
        let (content, key) = match matched.rest {
            Rest::Empty | Rest::Exceeded => return Lookup::Stored,
            Rest::Missing(rest) if matched.parts > 0 => (rest, next_key),
            _ => match self.by_key.get(id.as_str()) {
                // A gateway gives all answers one id. An earlier answer that is found later has this key, and
                // the stored one has another key in the recording.
                Some(&index) => {
                    self.orphans.add_timed(&self.stored[index]);
                    (content, None)
                }
                // A prompt of which an earlier line had another text.
                None => (content, next_key),
            },
        };
        let key = key
            .unwrap_or_else(|| Fingerprint::of_revision(id, message.role, &message.content).key(1));
        match self.by_key.contains_key(key.as_str()) {
            true => Lookup::Stored,
            false => Lookup::Missing { content, key },
        }
    }

    /// Looks up a message without an id. A file has such a message whole or, cut, not at all, so one with
    /// another text is another message. So is one with another time.
    fn find_by_content<'m>(&mut self, timed: &Timed<'m>) -> Lookup<'m> {
        if self.take(timed) || !self.take_prompts(timed).is_empty() {
            return Lookup::Stored;
        }
        Lookup::Missing {
            content: &timed.message.content,
            key: self.derived.free_key(&timed.message.key),
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

    /// Takes a turn without the key of a message for the message. Returns `false` if there is none.
    fn take(&mut self, timed: &Timed<'_>) -> bool {
        let message = timed.message;
        let text = Fingerprint::of_turn(message.role, &message.content);
        self.repeated.contains(&timed.index)
            || self.derived.take(text, timed.time)
            || self.orphans.take(text, timed.time)
            || message.timestamp.is_none() && self.derived.take_any(text)
    }

    /// Takes the stored prompts that a line repeats, and returns their indexes.
    fn take_prompts(&mut self, timed: &Timed<'_>) -> Vec<usize> {
        let message = timed.message;
        if message.role != Role::User || is_enqueued(message.key.as_str()) {
            return Vec::new();
        }
        let is_earlier = |index: usize| {
            let prompt = micros(self.stored[index].timestamp);
            timed.time.is_none_or(|time| prompt <= micros(time))
        };
        self.prompts.take(&message.content, is_earlier)
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
