use std::fs;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use turnkeep_model::{ConversationTurn, MessageKey, NewMessage, Role, Seq};
use turnkeep_recordings::{Source, find};

use crate::support::{Folder, jsonl};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

fn time(second: u32) -> String {
    format!(
        "2026-10-01T{:02}:{:02}:{:02}Z",
        8 + second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn uuid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Few words, so that messages are often equal.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]",
        Just("go on".to_owned()),
        Just("a\nb".to_owned()),
        Just(" ".to_owned())
    ]
}

/// A line of a transcript.
#[derive(Debug, Clone)]
enum Line {
    User(String),
    Enqueue(String),
    Queued(String),
    Meta(String),
    /// A block of one of few messages.
    Assistant(u32, String),
    /// A line that stands in the file already.
    Again(prop::sample::Index),
    Title(String),
    Damaged,
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        4 => words().prop_map(Line::User),
        1 => words().prop_map(Line::Enqueue),
        1 => words().prop_map(Line::Queued),
        1 => words().prop_map(Line::Meta),
        4 => (0..9_u32, words()).prop_map(|(id, words)| Line::Assistant(id, words)),
        1 => any::<prop::sample::Index>().prop_map(Line::Again),
        1 => words().prop_map(Line::Title),
        1 => Just(Line::Damaged),
    ]
}

fn transcript(lines: &[Line], pace: u32) -> Vec<String> {
    let mut written: Vec<String> = Vec::new();
    for (line, number) in lines.iter().zip(0..) {
        let mut value = json!({
            "sessionId": ID, "uuid": uuid(number), "timestamp": time(number * pace), "cwd": "/srv",
        });
        let fields = match line {
            Line::User(text) => json!({"type": "user", "message": {"content": text}}),
            Line::Meta(text) => {
                json!({"type": "user", "isMeta": true, "message": {"content": text}})
            }
            Line::Enqueue(text) => json!({
                "type": "queue-operation", "operation": "enqueue", "content": text, "uuid": null,
            }),
            Line::Queued(text) => json!({"type": "attachment", "attachment": {
                "type": "queued_command", "commandMode": "prompt", "prompt": text,
            }}),
            // Mostly another message than the ones before.
            Line::Assistant(id, text) => json!({"type": "assistant", "message": {
                "id": format!("msg_{}", if *id < 3 { *id } else { number / 2 + 9 }),
                "content": [{"type": "text", "text": text}],
            }}),
            Line::Title(text) => json!({"type": "custom-title", "customTitle": text, "uuid": null}),
            Line::Damaged => {
                written.push("{\"type\":\"user\",\n".to_owned());
                continue;
            }
            Line::Again(index) => {
                let again = index.get(&lines[..=usize::try_from(number).unwrap()]);
                let index = lines.iter().position(|it| std::ptr::eq(it, again)).unwrap();
                written.push(written.get(index).cloned().unwrap_or_default());
                continue;
            }
        };
        value
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        written.push(jsonl(&[value]));
    }
    written
}

/// A line of a rollout: role, words, and whether the message has an id. Others are spoken by the user, or events.
fn rollout(lines: &[(u8, String, bool)], pace: u32) -> Vec<String> {
    let header = json!({"timestamp": time(0), "type": "session_meta",
        "payload": {"id": ID, "cwd": "/srv", "source": "cli"}});
    let lines = lines.iter().zip(0..).map(|((kind, words, has_id), number)| {
        let role = ["user", "assistant", "developer"].get(usize::from(*kind));
        let time = time(number * pace);
        let id = has_id.then(|| format!("msg_{}", number / 2));
        jsonl(&[match role {
            Some(role) => json!({"timestamp": time, "type": "response_item", "payload": {"id": id,
                "type": "message", "role": role, "content": [{"type": "input_text", "text": words}]}}),
            None if *kind == 3 => json!({"timestamp": time, "type": "realtime_item", "payload": {
                "type": "transcript_segment", "id": id, "role": "user", "text": words}}),
            None => json!({"timestamp": time, "type": "event_msg", "payload": {
                "type": "item_completed", "item": {"id": id,
                "type": if *kind == 4 { "UserMessage" } else { "AgentMessage" },
                // A report of its second line is told from it only by an id.
                "content": [{"type": "text", "text": words.replace('\n', " ")}]}}}),
        }])
    });
    std::iter::once(jsonl(&[header])).chain(lines).collect()
}

/// What is said in each line, and when.
type Spoken = Vec<Option<(Role, String, u32)>>;

fn spoken(lines: &[Line], pace: u32) -> Spoken {
    let lines = lines.iter().zip(0..);
    let spoken = lines.map(|(line, number)| {
        let (role, words) = match line {
            Line::User(words) | Line::Queued(words) => (Role::User, words),
            Line::Assistant(_, words) => (Role::Assistant, words),
            _ => return None,
        };
        Some((role, words.clone(), number * pace))
    });
    spoken.collect()
}

/// What hooks report between two imports: whether the next prompt and the next answer, and how many seconds before
/// their lines.
fn reports() -> impl Strategy<Value = Vec<(bool, bool, u32)>> {
    let seconds = prop::sample::select(vec![0_u32, 1, 30]);
    prop::collection::vec((any::<bool>(), any::<bool>(), seconds), 0..6)
}

/// A turn that another program appends.
fn stranger() -> impl Strategy<Value = (bool, String, u32, u8)> {
    (any::<bool>(), words(), 0..4_000_u32, 0..4_u8)
}

#[derive(Default)]
struct Store(Vec<ConversationTurn>);

impl Store {
    fn push(&mut self, role: Role, words: &str, time: DateTime<Utc>, key: Option<MessageKey>) {
        let seq = Seq::new(i64::try_from(self.0.len()).unwrap() + 1).unwrap();
        let task = "task".parse().unwrap();
        let mut turn = ConversationTurn::new(task, seq, role, words.to_owned(), time);
        turn.message_key = key;
        self.0.push(turn);
    }

    fn add(&mut self, messages: Vec<NewMessage<'_>>) {
        for message in messages {
            let time = message.timestamp.unwrap_or_default();
            self.push(message.role, &message.content, time, message.key);
        }
    }

    fn report(&mut self, role: Role, words: &str, second: u32) {
        let key = MessageKey::new(format!("hook:{}", self.0.len())).unwrap();
        self.push(role, words, time(second).parse().unwrap(), Some(key));
    }

    fn add_stranger(&mut self, (is_user, words, second, key): &(bool, String, u32, u8)) {
        let key = match key {
            0 => None,
            1 => Some(format!("mine-{}", self.0.len())),
            2 => Some(format!("hook:{}", self.0.len())),
            _ => Some(format!("history:{}", self.0.len())),
        };
        let key = key.map(|key| MessageKey::new(key).unwrap());
        let role = if *is_user {
            Role::User
        } else {
            Role::Assistant
        };
        self.push(role, words, time(*second).parse().unwrap(), key);
    }
}

/// Imports a file whenever it has grown, and compares its end with the whole.
fn grow(
    name: &str,
    lines: &[String],
    cuts: &[prop::sample::Index],
    strangers: &[(bool, String, u32, u8)],
    spoken: &Spoken,
    reports: &[(bool, bool, u32)],
) {
    let folder = Folder::new();
    let text = lines.concat();
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    let mut strangers = strangers.iter();
    let mut reports = reports.iter();
    let mut store = Store::default();
    let mut settled = 0;
    for cut in cuts {
        let path = folder.file(name, &text.as_bytes()[..cut]);
        let Some(source) = source(&path) else {
            continue;
        };
        let Some(Ok(whole)) = source.sessions().unwrap().next() else {
            continue;
        };
        let new = whole.new_messages(&store.0);
        let tail = source.tail(settled).unwrap();
        let of_end = tail
            .as_ref()
            .and_then(|tail| Some((tail, tail.new_messages(&store.0)?)));
        settled = whole.settled;
        if let Some((tail, of_end)) = of_end {
            assert_eq!(said(&of_end), said(&new));
            let mut keys = of_end.iter().filter_map(|message| message.key.as_ref());
            let has = |key| {
                store
                    .0
                    .iter()
                    .any(|turn| turn.message_key.as_ref() == Some(key))
            };
            assert!(!keys.any(has));
            // A prompt that stands twice waits longer.
            assert!(tail.recording().settled <= settled);
            settled = tail.recording().settled;
        }
        assert!(settled <= cut as u64);
        store.add(new);
        assert_eq!(said(&whole.new_messages(&store.0)), []);
        if let Some(stranger) = strangers.next() {
            store.add_stranger(stranger);
        }
        let Some((has_prompt, has_answer, before)) = reports.next() else {
            continue;
        };
        let ends = lines.iter().scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        });
        // The first line of a rollout is its header.
        let ends = ends.skip(lines.len() - spoken.len());
        let next: Vec<_> = ends
            .zip(spoken)
            .filter_map(|(end, said)| said.as_ref().filter(|_| end > cut))
            .collect();
        for (role, is_reported) in [(Role::User, has_prompt), (Role::Assistant, has_answer)] {
            let next = next.iter().find(|(said_by, _, _)| *said_by == role);
            if let Some((_, words, second)) = next.filter(|_| *is_reported) {
                store.report(role, words, second.saturating_sub(*before));
            }
        }
    }
}

fn source(path: &std::path::Path) -> Option<Source> {
    let folder = path.parent()?;
    find(folder, None).unwrap().sources.into_iter().next()
}

type Said = (Role, String, Option<DateTime<Utc>>, Option<String>);

fn said(messages: &[NewMessage<'_>]) -> Vec<Said> {
    // The number of a derived key tells nothing.
    let text = |key: &MessageKey| {
        let text = key.as_str().split('#').next();
        text.unwrap_or_default().to_owned()
    };
    let messages = messages.iter();
    messages
        .map(|it| {
            (
                it.role,
                it.content.to_string(),
                it.timestamp,
                it.key.as_ref().map(text),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_end_of_a_transcript_tells_what_the_whole_does(
        lines in prop::collection::vec(line(), 1..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        strangers in prop::collection::vec(stranger(), 0..3),
        reports in reports(),
        pace in prop::sample::select(vec![1_u32, 40, 200]),
    ) {
        let spoken = spoken(&lines, pace);
        let written = transcript(&lines, pace);
        grow(&format!("projects/-srv/{ID}.jsonl"), &written, &cuts, &strangers, &spoken, &reports);
    }

    #[test]
    fn the_end_of_a_rollout_tells_what_the_whole_does(
        lines in prop::collection::vec((0_u8..6, words(), any::<bool>()), 1..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        strangers in prop::collection::vec(stranger(), 0..3),
        reports in reports(),
        pace in prop::sample::select(vec![0_u32, 1, 40, 200]),
    ) {
        let name = format!("sessions/2026/10/01/rollout-2026-10-01T08-00-00-{ID}.jsonl");
        let spoken = lines.iter().zip(0..).map(|((kind, words, _), number)| {
            let role = [Role::User, Role::Assistant].get(usize::from(*kind));
            Some((*role?, words.clone(), number * pace))
        });
        let spoken = spoken.collect();
        grow(&name, &rollout(&lines, pace), &cuts, &strangers, &spoken, &reports);
    }
}

/// Ten turns of the user with an answer each, imported after each.
#[test]
fn the_end_of_an_ordinary_session_is_enough() {
    let turns = (0..10_u32).flat_map(|turn| {
        let said = format!("{}", turn % 3);
        [Line::User(said.clone()), Line::Assistant(9, said)]
    });
    let lines: Vec<_> = turns.collect();
    let written = transcript(&lines, 200);
    let folder = Folder::new();
    let path = folder.file(&format!("projects/-srv/{ID}.jsonl"), &written[0]);
    let mut store = Store::default();
    let mut settled = 0;
    for (index, line) in written.iter().enumerate().skip(1) {
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, before + line).unwrap();
        let source = source(&path).unwrap();
        let tail = source.tail(settled).unwrap();
        let new = tail.as_ref().and_then(|tail| tail.new_messages(&store.0));
        // Its second turn of the user is the first after the start of the file.
        if index <= 2 {
            assert!(new.is_none());
            let whole = source.sessions().unwrap().next().unwrap().unwrap();
            store.add(whole.new_messages(&store.0));
            settled = whole.settled;
            continue;
        }
        store.add(new.unwrap());
        let tail = tail.unwrap();
        assert!(tail.recording().messages.len() <= 3);
        settled = tail.recording().settled;
    }
    assert_eq!(store.0.len(), 20);
}

/// Events count only in a rollout without messages, and there is one before each settled line.
#[test]
fn an_event_after_a_spoken_turn_adds_nothing() {
    let lines = [(0, "a"), (3, "b"), (5, "c")];
    let lines = lines.map(|(kind, words)| (kind, words.to_owned(), false));
    let written = rollout(&lines, 200);
    let folder = Folder::new();
    let name = format!("sessions/2026/10/01/rollout-2026-10-01T08-00-00-{ID}.jsonl");
    let path = folder.file(&name, written[..3].concat());
    let source = source(&path).unwrap();
    let whole = source.sessions().unwrap().next().unwrap().unwrap();
    assert_eq!(whole.settled, written[..2].concat().len() as u64);
    let mut store = Store::default();
    store.add(whole.new_messages(&[]));
    fs::write(&path, written.concat()).unwrap();
    let tail = source.tail(whole.settled).unwrap().unwrap();
    assert_eq!(tail.new_messages(&store.0).map(|new| new.len()), Some(0));
}

/// A hook stores each prompt before its line is written, and each answer comes before the next import.
#[test]
fn with_hooks_the_end_of_an_ordinary_session_is_enough() {
    for pace in [1, 10, 200] {
        let turns = (0..10_u32).flat_map(|turn| {
            let said = format!("turn {turn}");
            [Line::User(said.clone()), Line::Assistant(9, said)]
        });
        let lines: Vec<_> = turns.collect();
        let written = transcript(&lines, pace);
        let folder = Folder::new();
        let name = format!("projects/-srv/{ID}.jsonl");
        let mut store = Store::default();
        let mut settled = 0;
        for turn in 0..10 {
            store.report(Role::User, &format!("turn {turn}"), 2 * turn * pace);
            let lines = 2 * usize::try_from(turn).unwrap() + 2;
            let path = folder.file(&name, written[..lines].concat());
            let source = source(&path).unwrap();
            let tail = source.tail(settled).unwrap();
            let new = tail.as_ref().and_then(|tail| tail.new_messages(&store.0));
            if turn < 2 {
                let whole = source.sessions().unwrap().next().unwrap().unwrap();
                store.add(whole.new_messages(&store.0));
                settled = whole.settled;
                continue;
            }
            let new = new.unwrap();
            let said: Vec<_> = new.iter().map(|it| (it.role, &*it.content)).collect();
            assert_eq!(said, [(Role::Assistant, &*format!("turn {turn}"))]);
            store.add(new);
            let tail = tail.unwrap();
            assert_eq!(tail.recording().messages.len(), 4);
            settled = tail.recording().settled;
        }
        assert_eq!(store.0.len(), 20);
    }
}

/// A lost report leaves one for two equal prompts.
#[test]
fn of_two_equal_prompts_near_one_report_none_is_lost() {
    let lines = [
        Line::User("first".to_owned()),
        Line::User("go on".to_owned()),
        Line::User("b".to_owned()),
        Line::Assistant(9, "done".to_owned()),
        Line::User("go on".to_owned()),
    ];
    let written = transcript(&lines, 10);
    let folder = Folder::new();
    let path = folder.file(&format!("projects/-srv/{ID}.jsonl"), written[..4].concat());
    let source = source(&path).unwrap();
    let whole = source.sessions().unwrap().next().unwrap().unwrap();
    let mut store = Store::default();
    store.report(Role::User, "go on", 11);
    store.report(Role::User, "b", 20);
    store.add(whole.new_messages(&store.0));
    fs::write(&path, written.concat()).unwrap();
    let tail = source.tail(whole.settled).unwrap().unwrap();
    let new = tail.new_messages(&store.0);
    assert_eq!(new.map(|new| new.len()), None);
    let whole = source.sessions().unwrap().next().unwrap().unwrap();
    assert_eq!(whole.new_messages(&store.0).len(), 1);
}

/// Claude Code enqueues each prompt of a program, and writes its line at once.
#[test]
fn a_line_that_repeats_a_prompt_settles_it() {
    let lines = [
        Line::Enqueue("a".to_owned()),
        Line::User("a".to_owned()),
        Line::Assistant(9, "b".to_owned()),
    ];
    let written = transcript(&lines, 200);
    let folder = Folder::new();
    let path = folder.file(&format!("projects/-srv/{ID}.jsonl"), written[..2].concat());
    let source = source(&path).unwrap();
    let whole = source.sessions().unwrap().next().unwrap().unwrap();
    assert_eq!(whole.settled, written[0].len() as u64);
    let mut store = Store::default();
    store.add(whole.new_messages(&[]));
    fs::write(&path, written.concat()).unwrap();
    let tail = source.tail(whole.settled).unwrap().unwrap();
    let new = tail.new_messages(&store.0).unwrap();
    assert_eq!((new.len(), &*new[0].content), (1, "b"));
}

#[test]
fn a_file_that_was_rewritten_does_not_go_on_at_its_old_end() {
    let lines = [
        Line::User("a".to_owned()),
        Line::Assistant(9, "b".to_owned()),
        Line::User("c".to_owned()),
    ];
    let written = transcript(&lines, 200);
    let folder = Folder::new();
    let name = format!("projects/-srv/{ID}.jsonl");
    let path = folder.file(&name, written.concat());
    let whole = source(&path)
        .unwrap()
        .sessions()
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let mut store = Store::default();
    store.add(whole.new_messages(&[]));
    let settled = written[..2].concat().len() as u64;
    assert_eq!(whole.settled, settled);

    let tail_of = |text: &str| {
        fs::write(&path, text).unwrap();
        let tail = source(&path).unwrap().tail(settled).unwrap()?;
        tail.new_messages(&store.0).map(|new| new.len())
    };
    let next: Value = json!({"type": "user", "sessionId": ID, "uuid": uuid(9), "timestamp": time(900),
        "message": {"content": "d"}});
    assert_eq!(
        tail_of(&(written.concat() + &jsonl(std::slice::from_ref(&next)))),
        Some(1)
    );
    // Another turn stands at the old end, then nothing.
    assert_eq!(
        tail_of(&(written[..2].concat() + &jsonl(std::slice::from_ref(&next)))),
        None
    );
    assert_eq!(
        tail_of(&("x".to_owned() + &written.concat() + &jsonl(&[next]))),
        None
    );
    assert_eq!(tail_of(&written[0]), None);
}
