use serde_json::{Value, json};
use turnkeep_model::{ConversationTurn, Seq};

use crate::support::{Folder, jsonl, keys, read, turns};

const ID: &str = "7c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70";
const FILE: &str = "projects/-srv-shop/7c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70.jsonl";

fn user(uuid: &str, content: impl Into<Value>) -> Value {
    json!({
        "type": "user", "uuid": uuid, "sessionId": ID, "cwd": "/srv/shop", "isSidechain": false,
        "timestamp": "2026-10-01T08:00:00.000Z",
        "message": {"role": "user", "content": content.into()},
    })
}

fn assistant(uuid: &str, message_id: Option<&str>, block: Value) -> Value {
    json!({
        "type": "assistant", "uuid": uuid, "sessionId": ID, "cwd": "/srv/shop",
        "timestamp": format!("2026-10-01T08:00:{:0>2}.000Z", uuid.trim_start_matches('a')),
        "message": {"id": message_id, "role": "assistant", "model": "claude-sonnet-4-5", "content": [block]},
    })
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn with(mut line: Value, name: &str, value: Value) -> Value {
    line[name] = value;
    line
}

fn turns_of(lines: &[Value]) -> Vec<String> {
    let folder = Folder::new();
    turns(&read(&folder.jsonl(FILE, lines)))
}

#[test]
fn lines_of_one_message_are_one_turn_at_its_first_text() {
    let folder = Folder::new();
    let tool = json!({"type": "tool_use", "id": "t", "name": "Read", "input": {}});
    let path = folder.jsonl(
        FILE,
        &[
            user("u1", "Why?"),
            assistant(
                "a1",
                Some("msg_1"),
                json!({"type": "thinking", "thinking": "x"}),
            ),
            assistant("a2", Some("msg_1"), text("First.")),
            user(
                "u2",
                json!([{"type": "tool_result", "tool_use_id": "t", "content": "x"}]),
            ),
            assistant("a3", Some("msg_1"), tool),
            user("u3", "And?"),
            assistant("a4", Some("msg_1"), text("Second.")),
            assistant("a5", Some("msg_1"), text("First.")),
            assistant("a6", None, text("First.")),
        ],
    );
    let recording = read(&path);
    assert_eq!(
        turns(&recording),
        [
            "user: Why?",
            "assistant: First.\nSecond.",
            "user: And?",
            "assistant: First."
        ]
    );
    assert_eq!(keys(&recording), ["u1", "msg_1", "u3", "a6"]);
    let time = recording.messages[1].timestamp.unwrap();
    assert_eq!(time.to_rfc3339(), "2026-10-01T08:00:02+00:00");
    assert_eq!(recording.first_timestamp(), recording.messages[0].timestamp);
    assert_eq!(recording.last_timestamp(), recording.messages[3].timestamp);
}

#[test]
fn a_repeated_uuid_is_dropped() {
    assert_eq!(
        turns_of(&[user("u1", "a"), user("u1", "b"), user("u2", "a")]),
        ["user: a", "user: a"]
    );
}

#[test]
fn program_lines_are_dropped() {
    let synthetic = {
        let mut line = assistant("a5", Some("msg_2"), text("limit reached"));
        line["message"]["model"] = json!("<synthetic>");
        line
    };
    assert_eq!(
        turns_of(&[
            with(user("u1", "sidechain"), "isSidechain", json!(true)),
            with(user("u2", "meta"), "isMeta", json!(true)),
            with(user("u3", "summary"), "isCompactSummary", json!(true)),
            with(
                user("u4", "transcript"),
                "isVisibleInTranscriptOnly",
                json!(true)
            ),
            synthetic,
            with(
                assistant("a6", Some("msg_3"), text("529")),
                "isApiErrorMessage",
                json!(true)
            ),
            json!({"type": "summary", "summary": "x", "leafUuid": "x"}),
            json!({"type": "system", "subtype": "compact_boundary", "content": "x", "uuid": "s1"}),
            json!({"type": "queue-operation", "operation": "enqueue", "content": "x", "sessionId": ID}),
            json!({"type": "attachment", "attachment": {"type": "queued_command", "prompt": "x"}}),
            json!({"type": "a type of the future", "message": {"content": "x"}}),
            with(user("u7", "kept"), "isMeta", json!("an unexpected type")),
        ]),
        ["user: kept"]
    );
}

#[test]
fn program_blocks_of_a_message_are_dropped() {
    let blocks = json!([
        text("<system-reminder>x</system-reminder>"),
        text("Look at this."),
        {"type": "image", "source": {"type": "base64", "data": "x"}},
        text(" \n"),
        text("It is red."),
    ]);
    assert_eq!(
        turns_of(&[
            user("u1", blocks),
            user("u2", "[Request interrupted by user for tool use]"),
            user(
                "u3",
                "<command-name>/model</command-name><command-args></command-args>"
            ),
            user(
                "u4",
                "<command-args>the cart</command-args><command-name>/review</command-name>"
            ),
            user("u5", "\n"),
        ]),
        ["user: Look at this.\nIt is red.", "user: /review the cart"]
    );
}

#[test]
fn a_lone_surrogate_loses_no_line() {
    let folder = Folder::new();
    let line = user("u1", "a?b").to_string().replace('?', "\\ud82d");
    let recording = read(&folder.file(FILE, line));
    assert_eq!(turns(&recording), ["user: a\u{fffd}b"]);
    assert_eq!(recording.unparsable_lines, 0);
}

#[test]
fn deeply_nested_values_are_skipped() {
    let folder = Folder::new();
    let nested = format!("{}1{}", "{\"payload\":".repeat(50_000), "}".repeat(50_000));
    let line = user("u1", "kept").to_string();
    let line = line.replacen('{', &format!("{{\"payload\":{nested},"), 1);
    let recording = read(&folder.file(FILE, line));
    assert_eq!(turns(&recording), ["user: kept"]);
}

#[test]
fn fields_of_unexpected_types_are_skipped() {
    let mut odd = user("u1", "kept");
    odd["isMeta"] = json!({"nested": [[[1.5]]]});
    odd["origin"] = json!(["x"]);
    odd["toolUseResult"] = json!([{"questions": 1}]);
    odd["attachment"] = json!(1e300);
    odd["summary"] = json!(u64::MAX);
    let blocks = json!([null, 1, [], {"type": 5, "text": "a"}, {"text": {}}, {"text": "b"}]);
    assert_eq!(
        turns_of(&[odd, user("u2", blocks), user("u3", json!({"text": "x"}))]),
        ["user: kept", "user: a\nb"]
    );
}

#[test]
fn both_branches_of_a_rewind_and_copied_lines_count() {
    assert_eq!(
        turns_of(&[
            with(user("u1", "a"), "parentUuid", json!(null)),
            with(user("u2", "b"), "parentUuid", json!("u1")),
            with(user("u3", "c"), "parentUuid", json!("u1")),
            with(user("u4", "d"), "sessionId", json!("another session")),
        ]),
        ["user: a", "user: b", "user: c", "user: d"]
    );
}

#[test]
fn the_session_id_is_that_of_the_file_name_or_the_lines() {
    let folder = Folder::new();
    let lines = [
        with(user("u1", "a"), "sessionId", json!("first")),
        with(user("u2", "b"), "sessionId", json!("last")),
        json!({"type": "summary", "summary": "", "leafUuid": "x"}),
    ];
    let named = read(&folder.jsonl(FILE, &lines));
    assert_eq!(named.session_id.as_str(), ID);
    assert_eq!(named.task_id().unwrap().as_str(), format!("claude:{ID}"));
    let unnamed = read(&folder.jsonl("renamed.jsonl", &lines));
    assert_eq!(unnamed.session_id.as_str(), "last");
}

#[test]
fn the_working_folder_is_that_of_the_project_folder() {
    let folder = Folder::new();
    let lines = [
        with(user("u1", "a"), "cwd", json!("/srv/shop/src")),
        user("u2", "b"),
    ];
    let in_project = read(&folder.jsonl(FILE, &lines));
    assert_eq!(in_project.working_dir.unwrap().as_str(), "/srv/shop");
    let elsewhere = read(&folder.jsonl("elsewhere/x.jsonl", &lines));
    assert_eq!(elsewhere.working_dir.unwrap().as_str(), "/srv/shop/src");
}

#[test]
fn a_damaged_file_loses_only_the_damaged_lines() {
    let folder = Folder::new();
    let (first, second) = (user("u1", "a"), user("u2", "b\u{0}\r\nc"));
    let cut = &user("u3", "lost").to_string()[..40];
    let bytes = format!(
        "\u{feff}{first}{second}\n\n{cut}\n{}{cut}",
        jsonl(&[user("u4", "d")])
    );
    let recording = read(&folder.file(FILE, bytes));
    assert_eq!(turns(&recording), ["user: a", "user: b\0\r\nc", "user: d"]);
    assert_eq!(recording.unparsable_lines, 2);
}

#[test]
fn a_cut_copy_that_is_completed_repeats_no_turn() {
    let folder = Folder::new();
    let whole = jsonl(&[
        user("u1", "a"),
        assistant("a1", Some("msg_1"), text("b")),
        assistant("a2", Some("msg_1"), text("c")),
    ]);
    let half = read(&folder.file(FILE, &whole[..whole.len() - 20]));
    assert_eq!(half.unparsable_lines, 1);
    let whole = read(&folder.file(FILE, whole));
    let stored: Vec<_> = half
        .new_messages(&[])
        .into_iter()
        .zip(1..)
        .map(|(message, seq)| {
            let mut turn = ConversationTurn::new(
                half.task_id().unwrap(),
                Seq::new(seq).unwrap(),
                message.role,
                message.content.into_owned(),
                message.timestamp.unwrap(),
            );
            turn.message_key = message.key;
            turn
        })
        .collect();
    let new = whole.new_messages(&stored);
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].content, "c");
    assert_eq!(new[0].key.as_ref().unwrap().as_str(), "msg_1#2");
}

#[test]
fn debug_shows_no_content() {
    let folder = Folder::new();
    let recording = read(&folder.jsonl(FILE, &[user("u1", "secret words")]));
    let shown = format!("{recording:?}");
    assert!(
        !shown.contains("secret") && shown.contains("<12 bytes>"),
        "{shown}"
    );
}
