//! Words that a hook reported, and the messages of the recording that have them. They share no key.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use turnkeep_model::{ConversationTurn, MessageKey, Role};

use crate::key::{is_enqueued, is_of_hook};
use crate::message::RecordedMessage;

/// The longest time between a hook's report and the recording's line. Other hooks may run in between.
const NEAR: TimeDelta = TimeDelta::minutes(1);

/// The stored turns that came from hooks, by their times. Each may be one message of the recording.
#[derive(Default)]
pub(super) struct HookTurns<'a>(BTreeMap<(i64, i64), &'a ConversationTurn>);

impl<'a> HookTurns<'a> {
    pub(super) fn new(stored: &'a [ConversationTurn]) -> Self {
        let turns = stored.iter().filter(|turn| is_key(turn, is_of_hook));
        let with_place = turns.map(|turn| {
            let place = (turn.timestamp.timestamp_micros(), turn.seq.get());
            (place, turn)
        });
        Self(with_place.collect())
    }

    /// Takes a turn with the words of a message, and returns the text that it lacks. `None` if there is no
    /// such turn. `content` is the message's text, or the part of it that is not stored.
    ///
    /// Claude Code reports the last block of an answer alone, without the white space around it.
    pub(super) fn take<'m>(
        &mut self,
        message: &RecordedMessage,
        content: &'m str,
    ) -> Option<&'m str> {
        let micros = |time: DateTime<Utc>| time.timestamp_micros();
        let near = match message.timestamp {
            Some(time) => {
                let earliest = time.checked_sub_signed(NEAR).map_or(i64::MIN, micros);
                let latest = time.checked_add_signed(NEAR).map_or(i64::MAX, micros);
                (earliest, i64::MIN)..=(latest, i64::MAX)
            }
            None => (i64::MIN, i64::MIN)..=(i64::MAX, i64::MAX),
        };
        let time = message.timestamp.map_or(0, micros);
        let turns = self
            .0
            .range(near)
            .filter(|(_, turn)| turn.role == message.role);
        let matching = turns.filter_map(|(place, turn)| {
            let before = before_last_lines(content, &turn.content)?;
            Some((*place, before))
        });
        let nearest = matching.min_by_key(|((micros, _), _)| micros.abs_diff(time));
        let (place, before) = nearest?;
        self.0.remove(&place);
        Some(before)
    }
}

/// Whether the history has a message that a hook reports. A doubtful one counts as stored: the import of the
/// recording brings it.
pub(super) fn has_reported(stored: &[ConversationTurn], message: &RecordedMessage) -> bool {
    let is_same = |turn: &&ConversationTurn| {
        turn.role == message.role && before_last_lines(&turn.content, &message.content).is_some()
    };
    let time = message.timestamp.unwrap_or_default();
    if stored.iter().any(|turn| turn.timestamp > time) {
        // Another process was faster.
        let earliest = time.checked_sub_signed(NEAR).unwrap_or_default();
        let mut near = stored.iter().filter(|turn| turn.timestamp >= earliest);
        return near.any(|turn| is_same(&turn));
    }
    let last = stored
        .iter()
        .rev()
        .filter(|turn| matches!(turn.role, Role::User | Role::Assistant))
        .take_while(|turn| turn.role == message.role);
    // A prompt that waited was imported when it was typed.
    let enqueued = stored.iter().filter(|turn| is_key(turn, is_enqueued));
    last.chain(enqueued).any(|turn| is_same(&turn))
}

fn is_key(turn: &ConversationTurn, is_kind: fn(&str) -> bool) -> bool {
    let key = turn.message_key.as_ref().map(MessageKey::as_str);
    key.is_some_and(is_kind)
}

/// Returns the text before the lines that hold these words at its end. `None` if it does not end in them.
fn before_last_lines<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    if text.split_whitespace().eq(words.split_whitespace()) {
        return Some("");
    }
    let before = text.trim_end().strip_suffix(words.trim())?;
    before.strip_suffix('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_as_whole_lines() {
        for (text, words, before) in [
            ("a b", " a\nb ", Some("")),
            ("x\na b\n", "a b", Some("x")),
            ("x\ny\n\na b", " a b", Some("x\ny\n")),
            ("x a b", "a b", None),
            ("a b\nx", "a b", None),
            ("xa b", "a b", None),
        ] {
            assert_eq!(before_last_lines(text, words), before, "{text:?}");
        }
    }
}
