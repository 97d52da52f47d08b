//! Turns of a history that may be a message of a recording, though none of its keys names them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use turnkeep_model::{ConversationTurn, MessageKey};

use crate::key::Fingerprint;

/// A store keeps microseconds.
pub(crate) fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// The number of turns at each time.
#[derive(Default)]
struct Times(BTreeMap<i64, u64>);

impl Times {
    fn add(&mut self, time: DateTime<Utc>) {
        *self.0.entry(micros(time)).or_default() += 1;
    }

    fn take(&mut self, time: i64) -> bool {
        let Some(count) = self.0.get_mut(&time) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&time);
        }
        true
    }
}

/// Turns without a key of the recording. Each may be one message with its text.
#[derive(Default)]
pub(crate) struct Orphans {
    /// Turns with ids of the agent, by text and time. Goose gives messages new ids when it compacts a session.
    by_time: HashMap<Fingerprint, Times>,
    /// The number of turns of an orchestrator, and of prompts from the history of Claude Code. Their times are
    /// not those of the recording.
    by_text: HashMap<Fingerprint, u64>,
}

impl Orphans {
    pub(crate) fn add_timed(&mut self, turn: &ConversationTurn) {
        let text = Fingerprint::of_turn(turn.role, &turn.content);
        self.by_time.entry(text).or_default().add(turn.timestamp);
    }

    pub(crate) fn add_untimed(&mut self, turn: &ConversationTurn) {
        let text = Fingerprint::of_turn(turn.role, &turn.content);
        *self.by_text.entry(text).or_default() += 1;
    }

    /// Takes a turn with this text, and if it has an id of the agent also with this time.
    pub(crate) fn take(&mut self, text: Fingerprint, time: Option<DateTime<Utc>>) -> bool {
        let by_time = self.by_time.get_mut(&text).zip(time);
        if by_time.is_some_and(|(times, time)| times.take(micros(time))) {
            return true;
        }
        let count = self.by_text.get_mut(&text).filter(|count| **count > 0);
        count.map(|count| *count -= 1).is_some()
    }
}

/// The turns of messages without an id. Two files of a session may have the same text under the same number, so
/// only text and time tell these messages apart.
#[derive(Default)]
pub(crate) struct Derived {
    times: HashMap<Fingerprint, Times>,
    /// The highest number of each text, stored or given to a new message.
    numbers: HashMap<Fingerprint, u64>,
}

impl Derived {
    pub(crate) fn add(&mut self, text: Fingerprint, number: u64, time: DateTime<Utc>) {
        self.times.entry(text).or_default().add(time);
        let highest = self.numbers.entry(text).or_default();
        *highest = number.max(*highest);
    }

    pub(crate) fn take(&mut self, text: Fingerprint, time: Option<DateTime<Utc>>) -> bool {
        let times = self.times.get_mut(&text).zip(time);
        times.is_some_and(|(times, time)| times.take(micros(time)))
    }

    /// Takes the earliest turn of a text.
    pub(crate) fn take_any(&mut self, text: Fingerprint) -> bool {
        let Some(times) = self.times.get_mut(&text) else {
            return false;
        };
        let first = times.0.keys().next().copied();
        first.is_some_and(|time| times.take(time))
    }

    /// Returns the key of a new message, which is the one that its recording gives it unless a turn has that.
    pub(crate) fn free_key(&mut self, key: &MessageKey) -> MessageKey {
        let Some((text, number)) = Fingerprint::of_key(key.as_str()) else {
            return key.clone();
        };
        let highest = self.numbers.entry(text).or_default();
        *highest = number.max(highest.saturating_add(1));
        text.key(*highest)
    }
}
