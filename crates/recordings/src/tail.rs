//! The end of a session that has grown.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use turnkeep_model::{ConversationTurn, MessageKey, NewMessage, Role, Seq};

use crate::key::{Fingerprint, is_agent_id, is_enqueued, is_of_hook};
use crate::name::first_words;
use crate::orphans::micros;
use crate::recording::Recording;

/// The longest time between a hook's report and the line of the recording.
const NEAR_HOOK: TimeDelta = TimeDelta::minutes(1);

/// The end of a session, from a turn of the user on that an earlier import has stored.
///
/// No line before that turn changes the meaning of a later one. But an earlier line may be repeated later, and a
/// stored turn without the key of a message may stand for an earlier message or for a new one. Where that could
/// be, only the whole session tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    recording: Recording,
}

impl Tail {
    pub(crate) fn new(recording: Recording) -> Self {
        Self { recording }
    }

    /// Returns the session with the messages of its end. Its folder and title are `None` if its end does not
    /// have them, and its counts, its times and its names are those of its end.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Returns the messages to append to `stored`, the task's whole history in order: the same as
    /// [`Recording::new_messages`] of the whole session. `None` if its end does not tell them, and the session
    /// has to be read as a whole.
    #[must_use]
    pub fn new_messages(&self, stored: &[ConversationTurn]) -> Option<Vec<NewMessage<'_>>> {
        let messages = &self.recording.messages;
        let start = messages
            .first()
            .filter(|it| it.role == Role::User)?
            .timestamp?;
        let is_later = |time: Option<DateTime<Utc>>| time.is_some_and(|time| time > start);
        if !messages[1..]
            .iter()
            .all(|message| is_later(message.timestamp))
        {
            return None;
        }
        // A line that is no turn may have stood before the end as well, and then repeats no prompt.
        if !self.recording.withdrawn.is_empty() {
            return None;
        }
        let (own, other) = self.split(stored, start);
        let is_earlier = |turn: &ConversationTurn| {
            let is_exempt = derived_from(turn).is_some() || is_reported(turn);
            !is_exempt && micros(turn.timestamp) < micros(start)
        };
        if own.iter().any(is_earlier) {
            return None;
        }
        // Then the file still has what it had.
        let begins_with_stored = self.recording.missing(&messages[..1], &own).is_empty();
        let new = self.recording.missing(messages, &own);
        (begins_with_stored && !may_stand_for(&other, &new)).then_some(new)
    }

    /// Whether a title at the end may be the first that the session has, and not yet the name of the task: `name` may be
    /// the [`untitled_name`](Recording::untitled_name) of the whole session. `stored` is the task's whole history.
    #[must_use]
    pub fn may_rename(&self, name: &str, stored: &[ConversationTurn]) -> bool {
        let is_name_of =
            |turn: &ConversationTurn| turn.role == Role::User && first_words(&turn.content) == name;
        self.recording.title.is_some()
            && self.recording.name() != name
            && (self.recording.session_id.as_str() == name || stored.iter().any(is_name_of))
    }

    /// Splits the history into the turns that can only be those of the messages, by their keys or as reports of hooks,
    /// and the others.
    fn split<'a>(
        &self,
        stored: &'a [ConversationTurn],
        start: DateTime<Utc>,
    ) -> (Vec<ConversationTurn>, Vec<&'a ConversationTurn>) {
        let messages = &self.recording.messages;
        let keys = messages.iter();
        let keys = keys.flat_map(|it| std::iter::once(&it.key).chain(&it.earlier_keys));
        let keys: HashSet<_> = keys.map(MessageKey::as_str).collect();
        let texts = messages
            .iter()
            .filter_map(|it| Fingerprint::of_key(it.key.as_str()));
        let texts: HashSet<_> = texts.map(|(text, _)| text).collect();
        let is_own = |turn: &&ConversationTurn| {
            if let Some(text) = derived_from(turn) {
                // Of these the time decides, and their numbers are taken.
                return texts.contains(&text);
            }
            turn.message_key.as_ref().is_some_and(|key| {
                // A part of a message has the message's id and a number.
                let key = key.as_str();
                let message = key.rsplit_once('#').map_or(key, |(message, _)| message);
                keys.contains(key) || keys.contains(message)
            })
        };
        let (own, other): (Vec<_>, Vec<_>) = stored.iter().partition(is_own);
        let mut own: Vec<_> = own.into_iter().cloned().collect();
        let reported = self.reported(&own, &other, start);
        let (reported, other): (Vec<_>, Vec<_>) = other
            .into_iter()
            .partition(|turn| reported.contains(&turn.seq));
        own.extend(reported.into_iter().cloned());
        (own, other)
    }

    /// Returns the turns of hooks that stand for no message before the end. `own` are the turns with the keys of the
    /// messages.
    ///
    /// One stands for the first message, which an import has read and has not stored. Others came after an import that
    /// had read all before the end. Where two reports have the same words, either may stand for an earlier message.
    fn reported(
        &self,
        own: &[ConversationTurn],
        other: &[&ConversationTurn],
        start: DateTime<Utc>,
    ) -> HashSet<Seq> {
        let messages = &self.recording.messages;
        let is_read =
            |turn: &&ConversationTurn| turn.timestamp >= start && derived_from(turn).is_none();
        let read = own.iter().find(is_read).map(|turn| turn.seq);
        let is_later = |turn: &ConversationTurn| {
            start - turn.timestamp <= NEAR_HOOK && read.is_some_and(|read| turn.seq > read)
        };
        let has_first_words = |turn: &ConversationTurn| {
            let words = messages[0].content.split_whitespace();
            turn.role == Role::User && words.eq(turn.content.split_whitespace())
        };
        let has_other = |turn: &&ConversationTurn| !is_reported(turn) && has_first_words(turn);
        let is_stored =
            self.recording.missing(&messages[..1], own).is_empty() || other.iter().any(has_other);
        let is_first = |turn: &ConversationTurn| {
            !is_stored && (turn.timestamp - start).abs() <= NEAR_HOOK && has_first_words(turn)
        };
        let turns = other.iter().filter(|turn| is_reported(turn));
        let turns = turns.filter(|turn| start - turn.timestamp <= NEAR_HOOK * 3);
        let turns: Vec<_> = turns.collect();
        let is_alone = |turn: &ConversationTurn| {
            !turns.iter().any(|it| {
                it.seq != turn.seq
                    && it.role == turn.role
                    && (it.timestamp - turn.timestamp).abs() <= NEAR_HOOK * 2
                    && has_same_end(&it.content, &turn.content)
            })
        };
        let turns = turns.iter();
        let reported = turns.filter(|it| (is_first(it) || is_later(it)) && is_alone(it));
        reported.map(|turn| turn.seq).collect()
    }
}

fn is_reported(turn: &ConversationTurn) -> bool {
    let key = turn.message_key.as_ref().map(MessageKey::as_str);
    key.is_some_and(is_of_hook)
}

/// Whether one text has the words at the end of the other.
fn has_same_end(a: &str, b: &str) -> bool {
    let words = a.split_whitespace().rev();
    { words }
        .zip(b.split_whitespace().rev())
        .all(|(a, b)| a == b)
}

fn derived_from(turn: &ConversationTurn) -> Option<Fingerprint> {
    let key = turn.message_key.as_ref()?;
    Fingerprint::of_key(key.as_str()).map(|(text, _)| text)
}

/// Whether another turn may be one of the new messages, or a part of it.
fn may_stand_for(others: &[&ConversationTurn], new: &[NewMessage<'_>]) -> bool {
    let mut times: HashMap<(Role, &str), Vec<i64>> = HashMap::new();
    for message in new {
        let text = (message.role, message.content.trim_end());
        times
            .entry(text)
            .or_default()
            .extend(message.timestamp.map(micros));
    }
    let is_near = |turn: &ConversationTurn| {
        let near = |time: DateTime<Utc>| (time - turn.timestamp).abs() <= NEAR_HOOK;
        let has_words = |it: &NewMessage<'_>| has_same_end(&it.content, &turn.content);
        new.iter()
            .any(|it| it.role == turn.role && it.timestamp.is_none_or(near) && has_words(it))
    };
    let first_waiting = new
        .iter()
        .filter(|it| it.key.as_ref().is_some_and(|key| is_enqueued(key.as_str())));
    let first_waiting = first_waiting.filter_map(|it| it.timestamp).min();
    let has_answer = new.iter().any(|message| message.role == Role::Assistant);
    others.iter().any(|turn| {
        // A later line may repeat a prompt that waited.
        if turn.role == Role::User && first_waiting.is_some_and(|time| turn.timestamp >= time) {
            return true;
        }
        let times = times.get(&(turn.role, turn.content.trim_end()));
        let key = turn.message_key.as_ref().map(MessageKey::as_str);
        match key {
            // Its line has repeated it, or it never counts for a later one.
            Some(key) if is_enqueued(key) => false,
            Some(key) if is_agent_id(key) || Fingerprint::of_key(key).is_some() => {
                times.is_some_and(|times| times.contains(&micros(turn.timestamp)))
            }
            Some(key) if is_of_hook(key) && is_near(turn) => true,
            // It may stand for an earlier answer that has the id of a new one.
            _ => times.is_some() || has_answer && turn.role == Role::Assistant,
        }
    })
}
