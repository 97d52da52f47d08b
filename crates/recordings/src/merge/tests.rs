use chrono::{DateTime, Utc};
use proptest::prelude::*;
use turnkeep_model::{Role, Seq, TaskId};

use super::*;
use crate::key::assign;
use crate::message::Draft;

/// A recording of `(content, id)`s, all by the assistant.
fn recording(messages: &[(&str, Option<&str>)]) -> Vec<RecordedMessage> {
    let drafts = messages.iter().map(|(content, id)| Draft {
        role: Role::Assistant,
        content: (*content).to_owned(),
        timestamp: None,
        id: id.map(str::to_owned),
        earlier_ids: Vec::new(),
    });
    assign(drafts.collect())
}

/// A task's history with the constraints of the database.
#[derive(Default)]
struct Store(Vec<ConversationTurn>);

impl Store {
    fn append(&mut self, role: Role, content: &str, key: Option<MessageKey>) {
        self.append_at(DateTime::UNIX_EPOCH, role, content, key);
    }

    fn append_at(
        &mut self,
        time: DateTime<Utc>,
        role: Role,
        content: &str,
        key: Option<MessageKey>,
    ) {
        let is_taken = key.is_some() && self.0.iter().any(|turn| turn.message_key == key);
        assert!(!is_taken, "{key:?} is stored twice");
        self.push(time, role, content, key);
    }

    fn push(&mut self, time: DateTime<Utc>, role: Role, content: &str, key: Option<MessageKey>) {
        let seq = Seq::new(self.0.len() as i64 + 1).unwrap();
        let (task, content) = (TaskId::new("t").unwrap(), content.to_owned());
        let mut turn = ConversationTurn::new(task, seq, role, content, time);
        turn.message_key = key;
        self.0.push(turn);
    }

    /// Imports a recording twice and returns the texts that the first import appended.
    fn import(&mut self, recorded: &[RecordedMessage]) -> Vec<String> {
        let new = new_messages(recorded, &[], &self.0, &|_| false);
        let contents = new.iter().map(|m| m.content.to_string()).collect();
        for message in new {
            assert!(!is_blank(&message.content));
            let time = message.timestamp.unwrap_or_default();
            self.append_at(time, message.role, &message.content, message.key);
        }
        let again = new_messages(recorded, &[], &self.0, &|_| false);
        assert!(again.is_empty(), "a second import adds {again:?}");
        contents
    }

    /// Whether the turns of the role, in order, contain all of `text`, white space aside.
    fn contains(&self, role: Role, text: &str) -> bool {
        fn follow(turns: &[String], text: &str) -> bool {
            text.is_empty()
                || turns.iter().enumerate().any(|(index, turn)| {
                    turn.starts_with(text)
                        || text
                            .strip_prefix(turn.as_str())
                            .is_some_and(|rest| follow(&turns[index + 1..], rest))
                })
        }
        let turns = self.0.iter().filter(|turn| turn.role == role);
        let turns: Vec<_> = turns.map(|turn| dense(&turn.content)).collect();
        follow(&turns, &dense(text))
    }
}

fn dense(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn a_second_import_adds_only_what_is_new() {
    let mut store = Store::default();
    store.import(&recording(&[("a", Some("1")), ("b", None)]));
    let grown = recording(&[("a", Some("1")), ("b", None), ("b", None), ("c", Some("2"))]);
    assert_eq!(store.import(&grown), ["b", "c"]);
    let keys: Vec<_> = store
        .0
        .iter()
        .filter_map(|t| t.message_key.as_ref())
        .collect();
    assert_eq!((keys[0].as_str(), keys[3].as_str()), ("1", "2"));
}

#[test]
fn only_the_rest_of_a_grown_message_is_added() {
    let mut store = Store::default();
    store.import(&recording(&[("one", Some("m"))]));
    assert_eq!(
        store.import(&recording(&[("one two", Some("m"))])),
        [" two"]
    );
    assert_eq!(
        store.import(&recording(&[("one two\n\n\nthree", Some("m"))])),
        ["\n\nthree"],
        "one newline separates"
    );
    assert_eq!(
        store.import(&recording(&[("one two\n\n\nthree\n \n", Some("m"))])),
        [""; 0],
        "white space alone is not stored"
    );
    let keys: Vec<_> = store
        .0
        .iter()
        .filter_map(|t| t.message_key.as_ref())
        .collect();
    assert_eq!(
        keys.iter().map(|k| k.as_str()).collect::<Vec<_>>(),
        ["m", "m#2", "m#3"]
    );
}

#[test]
fn an_older_copy_adds_nothing() {
    let mut store = Store::default();
    store.import(&recording(&[("one", Some("m"))]));
    store.import(&recording(&[("one two", Some("m")), ("three four", None)]));
    for older in ["o", "one", "one t"] {
        assert_eq!(store.import(&recording(&[(older, Some("m"))])), [""; 0]);
    }
}

#[test]
fn a_different_text_under_a_stored_id_is_stored_once() {
    let mut store = Store::default();
    store.import(&recording(&[("yes", Some("m"))]));
    assert_eq!(store.import(&recording(&[("no", Some("m"))])), ["no"]);
    assert_eq!(store.import(&recording(&[("yes", Some("m"))])), [""; 0]);
    let user = Draft {
        role: Role::User,
        content: "yes".to_owned(),
        timestamp: None,
        id: Some("m".to_owned()),
        earlier_ids: Vec::new(),
    };
    assert_eq!(store.import(&assign(vec![user])), ["yes"], "another role");
}

#[test]
fn an_id_with_the_form_of_a_part_is_not_a_part() {
    let mut store = Store::default();
    store.import(&recording(&[("a", Some("m")), ("x", Some("m#2"))]));
    let grown = recording(&[("a b", Some("m")), ("x", Some("m#2"))]);
    assert_eq!(store.import(&grown), [" b"]);
}

#[test]
fn a_message_whose_id_is_too_long_for_a_suffix_may_grow() {
    let id = "i".repeat(MessageKey::MAX_BYTES);
    let mut store = Store::default();
    store.import(&recording(&[("a", Some(&id))]));
    assert_eq!(store.import(&recording(&[("a b", Some(&id))])), [" b"]);
}

#[test]
fn a_longer_message_without_id_is_another_message() {
    let mut store = Store::default();
    store.import(&recording(&[("q", None), ("Done.", None)]));
    let other = recording(&[("q", None), ("Done. The tests are red, though.", None)]);
    assert_eq!(store.import(&other), ["Done. The tests are red, though."]);
}

/// The message `both` repeats two prompts.
fn joined(both: &str) -> Vec<RecordedMessage> {
    let mut joined = recording(&[(both, Some("u"))]);
    joined[0].earlier_keys = ["e1", "e2"]
        .map(|key| MessageKey::new(key).unwrap())
        .to_vec();
    joined
}

#[test]
fn a_line_that_repeats_stored_prompts_adds_only_its_rest() {
    let prompts = [("keep  it", Some("e1")), ("go on", Some("e2"))];
    let mut store = Store::default();
    store.import(&recording(&prompts));
    assert_eq!(store.import(&joined("keep it\ngo on")), [""; 0]);

    let mut store = Store::default();
    store.import(&recording(&[("keep it", Some("e1"))]));
    assert_eq!(store.import(&joined("keep it\ngo on")), ["go on"]);

    let mut store = Store::default();
    store.import(&recording(&prompts[..1]));
    assert_eq!(store.import(&joined("something else")), ["something else"]);
}

#[test]
fn a_message_with_a_new_id_is_known_by_its_time() {
    let at = |second: i64, id: &str| {
        let mut message = recording(&[("go on", Some(id))]).remove(0);
        message.timestamp = DateTime::from_timestamp(second, 0);
        message
    };
    let mut store = Store::default();
    store.import(&[at(0, "msg_a"), at(0, "msg_b")]);
    assert_eq!(store.import(&[at(0, "msg_c"), at(0, "msg_d")]), [""; 0]);
    assert_eq!(
        store.import(&[at(0, "msg_c"), at(0, "msg_d"), at(0, "msg_e")]),
        ["go on"]
    );
    assert_eq!(store.import(&[at(1, "msg_f")]), ["go on"]);
}

/// A message of the user at a second of the test.
fn said(second: i64, content: &str, id: Option<&str>) -> RecordedMessage {
    let draft = Draft {
        role: Role::User,
        content: content.to_owned(),
        timestamp: DateTime::from_timestamp(second, 0),
        id: id.map(str::to_owned),
        earlier_ids: Vec::new(),
    };
    assign(vec![draft]).remove(0)
}

/// A recording of messages without ids.
fn without_ids(messages: &[(i64, &str)]) -> Vec<RecordedMessage> {
    let drafts = messages.iter().map(|(second, content)| Draft {
        role: Role::User,
        content: (*content).to_owned(),
        timestamp: DateTime::from_timestamp(*second, 0),
        id: None,
        earlier_ids: Vec::new(),
    });
    assign(drafts.collect())
}

#[test]
fn a_message_without_an_id_is_known_by_its_time() {
    // One thread on two machines, which part after the second message.
    let mut store = Store::default();
    store.import(&without_ids(&[(0, "a"), (1, "go on"), (5, "go on")]));
    let other = without_ids(&[(0, "a"), (1, "go on"), (20, "go on"), (30, "go on")]);
    assert_eq!(store.import(&other), ["go on", "go on"]);
    // A fork whose parent is gone.
    let own = without_ids(&[(20, "go on"), (40, "go on")]);
    assert_eq!(store.import(&own), ["go on"]);
    // Equal messages of one time are as many messages.
    let twice = without_ids(&[(0, "a"), (0, "a")]);
    assert_eq!(store.import(&twice), ["a"]);
}

#[test]
fn a_message_without_a_time_has_the_time_of_the_one_before_it() {
    let mut store = Store::default();
    let untimed = |mut messages: Vec<RecordedMessage>, index: usize| {
        messages[index].timestamp = None;
        messages
    };
    store.import(&untimed(without_ids(&[(1, "a"), (0, "b")]), 1));
    assert_eq!(
        store.import(&without_ids(&[(1, "a"), (1, "b"), (2, "b")])),
        ["b"]
    );
}

#[test]
fn sessions_of_one_task_take_no_words_from_each_other() {
    let mut store = Store::default();
    let uuid = |digit: &str| digit.repeat(8) + "-0000-4000-8000-000000000000";
    let first = [
        said(0, "Continue.", None),
        said(100, "waited", Some("enqueued:1")),
        said(200, "typed", Some("history:1")),
        said(300, "answered", Some(&uuid("1"))),
    ];
    store.import(&first);
    let second = ["Continue.", "waited", "typed", "answered"].map(|text| said(1_000, text, None));
    assert_eq!(store.import(&second).len(), 4);
    let third = ["Continue.", "waited", "typed", "answered"].iter().zip(2..);
    let third: Vec<_> = third
        .map(|(text, digit)| said(2_000, text, Some(&uuid(&digit.to_string()))))
        .collect();
    assert_eq!(store.import(&third).len(), 4);
}

#[test]
fn only_the_task_of_another_program_has_keys_of_another_program() {
    let mut store = Store::default();
    store.import(&[said(0, "Done.", Some("chatcmpl-1"))]);
    let later = [said(60, "Done.", Some("chatcmpl-2"))];
    assert_eq!(new_messages(&later, &[], &store.0, &|_| true).len(), 1);
    assert_eq!(new_messages(&later, &[], &store.0, &|_| false).len(), 0);
    let renewed = [said(0, "Done.", Some("chatcmpl-3"))];
    assert_eq!(new_messages(&renewed, &[], &store.0, &|_| true).len(), 0);
}

#[test]
fn an_earlier_answer_that_is_found_later_takes_the_id_of_a_gateway() {
    let answer = |second, content, id| {
        let mut answer = said(second, content, Some(id));
        answer.role = Role::Assistant;
        answer
    };
    let mut store = Store::default();
    store.import(&[answer(9, "second", "msg_proxy_stream")]);
    let both = [
        answer(1, "first", "msg_proxy_stream"),
        answer(9, "second", "uuid"),
    ];
    assert_eq!(store.import(&both), ["first"]);
}

#[test]
fn prompts_of_an_older_copy_are_found_in_the_line_that_joins_them() {
    let line = said(9, "keep it\n go  on", Some("u"));
    let older = [
        said(1, "keep it", Some("enqueued:1")),
        said(2, "go on", Some("enqueued:2")),
    ];
    let mut store = Store::default();
    store.import(&[line]);
    assert_eq!(store.import(&older), [""; 0]);
    let later = [said(10, "go on", Some("enqueued:3"))];
    assert_eq!(store.import(&later), ["go on"], "the line was there before");
    // And the other way round, where the new file has no queue.
    let mut store = Store::default();
    store.import(&older);
    let line = [
        said(9, "keep it\ngo on\nnow", Some("u")),
        said(9, "go on", Some("v")),
    ];
    assert_eq!(store.import(&line), ["now", "go on"]);
}

#[test]
fn a_repaired_line_repeats_no_turn() {
    let whole = [("a", None), ("go on", None), ("b", None), ("go on", None)];
    let mut store = Store::default();
    store.import(&recording(&[whole[0], whole[2], whole[3]]));
    assert_eq!(store.import(&recording(&whole)), ["go on"]);
}

#[test]
fn ids_added_later_repeat_no_turn() {
    let mut store = Store::default();
    store.import(&recording(&[("a", None), ("ok", None), ("ok", None)]));
    let migrated = [
        ("a", Some("1")),
        ("ok", Some("2")),
        ("ok", Some("3")),
        ("ok", Some("4")),
    ];
    assert_eq!(store.import(&recording(&migrated)), ["ok"]);
}

#[test]
fn a_turn_of_an_orchestrator_is_one_message() {
    let mut store = Store::default();
    store.append(Role::Assistant, "a", None);
    store.append(Role::Assistant, "b", Some(MessageKey::new("mine").unwrap()));
    let recorded = [("a", None), ("b", Some("1")), ("a", Some("2"))];
    assert_eq!(store.import(&recording(&recorded)), ["a"]);
}

#[test]
fn a_revision_is_not_another_message() {
    let mut store = Store::default();
    store.import(&recording(&[("yes", Some("m"))]));
    store.import(&recording(&[("no", Some("m"))]));
    let grown = recording(&[("no", Some("m")), ("no", Some("n"))]);
    assert_eq!(store.import(&grown), ["no"]);
}

#[test]
fn a_hundred_thousand_messages_take_linear_time() {
    let contents: Vec<_> = (0..100_000).map(|n| format!("message {}", n / 2)).collect();
    let messages: Vec<_> = contents
        .iter()
        .map(|content| (content.as_str(), None))
        .collect();
    let whole = recording(&messages);
    let mut stored = Store::default();
    for message in whole.iter().step_by(2) {
        // Not with `append`, which compares each key with all others.
        let key = Some(message.key.clone());
        stored.push(DateTime::UNIX_EPOCH, message.role, &message.content, key);
    }
    assert_eq!(
        new_messages(&whole, &[], &stored.0, &|_| false).len(),
        50_000
    );
}

type Message = (Role, String, Option<String>);

/// Few letters, so that messages are often equal or prefixes of each other.
fn messages() -> impl Strategy<Value = Vec<Message>> {
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant)];
    let message = (role, "[ab][ab\n ]{0,5}", any::<bool>());
    prop::collection::vec(message, 1..7).prop_map(|messages| {
        let numbered = messages.into_iter().enumerate();
        numbered
            .map(|(n, (role, content, has_id))| (role, content, has_id.then(|| format!("m{n}"))))
            .collect()
    })
}

/// The first `count` messages, the last one cut after `bytes`.
fn copy(messages: &[Message], count: usize, bytes: usize) -> Vec<RecordedMessage> {
    let count = count.min(messages.len());
    let drafts = messages[..count]
        .iter()
        .enumerate()
        .map(|(index, message)| {
            let (role, mut content, id) = message.clone();
            if index + 1 == count {
                content.truncate(bytes.max(1));
            }
            let timestamp = None;
            Draft {
                role,
                content,
                timestamp,
                id,
                earlier_ids: Vec::new(),
            }
        });
    assign(drafts.collect())
}

proptest! {
    // Regressions become tests, not entries in a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn copies_in_any_order_lose_no_text_and_a_second_import_adds_none(
        messages in messages(),
        copies in prop::collection::vec((1_usize..8, 1_usize..8), 0..6),
        damaged in prop::option::of(0_usize..7),
    ) {
        let mut store = Store::default();
        let mut imported: Vec<_> =
            copies.iter().map(|(count, bytes)| copy(&messages, *count, *bytes)).collect();
        if let Some(line) = damaged.filter(|line| *line < messages.len()) {
            let mut rest = messages.clone();
            rest.remove(line);
            imported.push(copy(&rest, usize::MAX, usize::MAX));
        }
        imported.push(copy(&messages, usize::MAX, usize::MAX));
        for recorded in &imported {
            store.import(recorded);
        }
        for (role, content, _) in &messages {
            prop_assert!(store.contains(*role, content));
        }
        for recorded in &imported {
            prop_assert_eq!(store.import(recorded), [""; 0]);
        }
    }

    /// Two machines go on with a session, and a second session has the same words. Each file is imported at any
    /// length and in any order.
    #[test]
    fn files_of_one_task_lose_no_message_and_repeat_none(
        shared in prop::collection::vec(any::<(bool, bool)>(), 0..4),
        ends in prop::array::uniform3(prop::collection::vec(any::<(bool, bool)>(), 0..5)),
        imports in prop::collection::vec((0_usize..3, 0_usize..9), 0..8),
    ) {
        let numbered = |start: i64, messages: &[(bool, bool)]| -> Vec<Draft> {
            let drafts = messages.iter().zip(start..).map(|(&(is_b, has_id), second)| Draft {
                role: Role::User,
                content: if is_b { "b" } else { "a" }.to_owned(),
                // Two messages have each time.
                timestamp: DateTime::from_timestamp(second / 2, 0),
                id: has_id.then(|| format!("msg_{second}")),
                earlier_ids: Vec::new(),
            });
            drafts.collect()
        };
        let file = |index: usize, length: usize| {
            let mut drafts = match index {
                2 => Vec::new(),
                _ => numbered(0, &shared),
            };
            drafts.extend(numbered(100 * (index as i64 + 1), &ends[index]));
            drafts.truncate(length);
            assign(drafts)
        };
        let mut store = Store::default();
        for (index, length) in imports {
            store.import(&file(index, length));
        }
        for index in 0..3 {
            store.import(&file(index, usize::MAX));
        }
        let mut stored: Vec<_> =
            store.0.iter().map(|turn| (turn.timestamp, turn.content.clone())).collect();
        let all = [numbered(0, &shared), numbered(100, &ends[0]), numbered(200, &ends[1]), numbered(300, &ends[2])];
        let all = all.into_iter().flatten();
        let mut expected: Vec<_> =
            all.map(|draft| (draft.timestamp.unwrap(), draft.content)).collect();
        stored.sort();
        expected.sort();
        prop_assert_eq!(stored, expected);
    }

    #[test]
    fn a_growing_file_repeats_no_text(messages in messages(), cuts in prop::collection::vec(1_usize..8, 7)) {
        // Numbers, so that no message is a prefix of another. Only a message with an id is ever half-written.
        let messages: Vec<Message> = messages
            .into_iter()
            .enumerate()
            .map(|(n, (role, content, _))| (role, format!("{n}{content}"), Some(format!("m{n}"))))
            .collect();
        let mut store = Store::default();
        for (index, bytes) in cuts.into_iter().enumerate() {
            store.import(&copy(&messages, index + 1, bytes));
            store.import(&copy(&messages, index + 1, usize::MAX));
        }
        let stored: usize = store.0.iter().map(|turn| dense(&turn.content).len()).sum();
        let recorded: usize = messages.iter().map(|(_, content, _)| dense(content).len()).sum();
        prop_assert!(stored == recorded, "{} of {} bytes", stored, recorded);
    }
}
