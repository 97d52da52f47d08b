use std::fs;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use proptest::prelude::*;
use turnkeep_agents::{RestoreAction, RestoreSource};
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{BackendType, NewMessage, Repo, Role};

use super::support::{ID, World};

/// Reads the restored session, and returns what an import would add.
fn missing(world: &World) -> Vec<String> {
    let restored = world.restore();
    let found = turnkeep_recordings::find(&restored.home, None).unwrap();
    let [source] = &found.sources[..] else {
        panic!("{} sources", found.sources.len());
    };
    let recording = source.sessions().unwrap().next().unwrap().unwrap();
    assert_eq!(recording.session_id, restored.session_id);
    assert_eq!(recording.unparsable_lines, 0);
    let whole = turnkeep_repo::HistoryPage::new(u32::MAX).with_hidden();
    let stored = world.repo.get_history_page(&world.task, whole).unwrap();
    let new = recording.new_messages(&stored);
    new.iter()
        .map(|it| it.content.clone().into_owned())
        .collect()
}

#[test]
fn the_words_of_a_session_make_a_recording() {
    for backend in [BackendType::Claude, BackendType::Codex] {
        let world = World::new(backend, ID);
        world.say(Role::User, "Why?", "829f3b95-0d5a-4f3e-9f0a-1b2c3d4e5f60");
        world.say(Role::Assistant, "Because.", "msg_1");
        world.say(Role::Tool, "ls", "t");
        world.say(Role::System, "Be brief.", "s");
        world.say(Role::User, "\0\u{2028}\"\\\n", "u2");
        let restored = world.restore();
        let found = turnkeep_recordings::find(&restored.home, None).unwrap();
        let recording = found.sources[0]
            .sessions()
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let said: Vec<_> = recording
            .messages
            .iter()
            .map(|it| (it.role, &*it.content))
            .collect();
        let expected = [
            (Role::User, "Why?"),
            (Role::Assistant, "Because."),
            (Role::User, "\0\u{2028}\"\\\n"),
        ];
        assert_eq!(said, expected);
        assert_eq!(recording.working_dir.unwrap().as_path(), world.path("app"));
        assert!(missing(&world).is_empty());
    }
}

/// Claude Code reads only the last of two chains, and ignores lines without these fields.
#[test]
fn the_lines_of_claude_are_one_chain() {
    let world = World::new(BackendType::Claude, ID);
    for (role, key) in [(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "c")] {
        world.say(role, "x", key);
    }
    let text = fs::read_to_string(world.restore().recording).unwrap();
    let mut parent = serde_json::Value::Null;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["parentUuid"], parent);
        parent = line["uuid"].clone();
        assert!(line["timestamp"].is_string() && line["sessionId"] == ID);
        let is_answer = line["type"] == "assistant";
        assert_eq!(line["message"]["model"].is_string(), is_answer);
    }
}

#[test]
fn hidden_turns_are_left_out() {
    for backend in [BackendType::Claude, BackendType::Codex] {
        let world = World::new(backend, ID);
        world.say(Role::User, "Keep this.", "a");
        world.say(Role::Assistant, "Yes.", "b");
        let kept = world.repo.last_seq(&world.task).unwrap();
        world.say(Role::User, "SECRET", "c");
        world.repo.hide_after(&world.task, kept).unwrap();
        let text = fs::read_to_string(world.restore().recording).unwrap();
        assert!(text.contains("Keep this.") && !text.contains("SECRET"));
        assert!(missing(&world).is_empty());
    }
}

/// A store whose disk has damaged the kept files.
#[test]
fn damaged_files_are_made_of_words() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db");
    let world = World::with_store(Repo::open(&store).unwrap(), BackendType::Claude, ID);
    world.say(Role::User, "Why?", "a");
    let side = format!("projects/-any/{ID}/tool-results/1.txt");
    let mut database = SqliteConnection::establish(store.to_str().unwrap()).unwrap();
    for (number, name) in [(1, format!("projects/-any/{ID}.jsonl")), (2, side)] {
        let damaged = format!(
            "INSERT INTO recordings VALUES ('t', {number}, '{name}', 0, 0);
             INSERT INTO recording_chunks VALUES ('t', {number}, 0, 2, 0, x'00')"
        );
        database.batch_execute(&damaged).unwrap();
    }
    let restored = world.restore();
    assert_eq!(restored.source, RestoreSource::Words);
    let mut left_out = restored.steps.iter();
    let is_left_out = |it: &&turnkeep_agents::RestoreStep| it.action == RestoreAction::LeaveOut;
    assert_eq!(left_out.by_ref().filter(is_left_out).count(), 2);
    let text = fs::read_to_string(restored.recording).unwrap();
    assert!(text.contains("Why?"));
}

#[derive(Debug, Clone)]
struct Turn {
    role: Role,
    text: String,
    key: &'static str,
}

fn turn() -> impl Strategy<Value = Turn> {
    let role =
        prop_oneof![4 => Just(Role::User), 4 => Just(Role::Assistant), 1 => Just(Role::Tool)];
    // Few texts, so that many are equal, and some that a reader may take for a program's.
    let text = prop_oneof![
        Just("go on".to_owned()),
        Just("go on\n".to_owned()),
        Just("  go on".to_owned()),
        Just(" ".to_owned()),
        Just("/model opus".to_owned()),
        Just("<system-reminder>x</system-reminder>".to_owned()),
        Just("<environment_context>x</environment_context>".to_owned()),
        Just("[Request interrupted by user]".to_owned()),
        Just("No response requested.".to_owned()),
        "\\PC{1,12}",
        any::<String>(),
    ];
    let key = prop_oneof![
        2 => Just("uuid"), 2 => Just("msg"), 1 => Just("part"), 2 => Just("derived"), 1 => Just("enqueued"),
        1 => Just("history"), 1 => Just("own"), 1 => Just("none"),
    ];
    (role, text, key).prop_map(|(role, text, key)| Turn { role, text, key })
}

/// Gives a turn a key like the one that an import would have given it, unique by its number.
fn key(turn: &Turn, number: usize) -> Option<String> {
    Some(match turn.key {
        "none" => return None,
        "uuid" => format!("{number:08x}-0d5a-4f3e-9f0a-1b2c3d4e5f60"),
        "msg" => format!("msg_{number}"),
        "part" if number > 0 => format!("msg_{}#2", number - 1),
        "derived" => format!("sha256:{number:032x}#1"),
        // Only prompts have such keys.
        "enqueued" | "history" if turn.role != Role::User => format!("msg_{number}"),
        "enqueued" => format!("enqueued:{number:032x}"),
        "history" => format!("history:{number}"),
        _ => format!("turn {number}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_import_of_restored_words_adds_nothing(
        turns in proptest::collection::vec(turn(), 1..12),
        is_claude: bool,
    ) {
        // Not of equal prompts in both: two of the queue and one of the history count as two messages.
        let has = |key| turns.iter().any(|turn| turn.key == key);
        prop_assume!(!has("enqueued") || !has("history"));
        let backend = if is_claude { BackendType::Claude } else { BackendType::Codex };
        let world = World::new(backend, ID);
        world.say(Role::User, "first", "first");
        for ((number, turn), time) in turns.iter().enumerate().zip(1_790_000_000_000_000..) {
            let time = DateTime::from_timestamp_micros(time).unwrap();
            let mut message = NewMessage::new(turn.role, &turn.text).timestamp(time);
            if let Some(key) = key(turn, number) {
                message = message.key(key.parse().unwrap());
            }
            world.repo.save_messages(&world.task, &[message]).unwrap();
        }
        prop_assert_eq!(missing(&world), Vec::<String>::new());
    }
}
