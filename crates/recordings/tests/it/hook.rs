use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use turnkeep_model::{BackendType, ConversationTurn};
use turnkeep_recordings::{Error, HookEvent, Recording};

use crate::support::{Folder, jsonl, read, stored, turns};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap()
}

/// An event of Claude Code, with the fields that all of its events have.
fn claude(name: &str, fields: Value, seconds: i64) -> Recording {
    let mut event = json!({
        "session_id": ID, "transcript_path": format!("/home/ada/.claude/projects/-srv/{ID}.jsonl"),
        "cwd": "/srv", "hook_event_name": name,
    });
    for (name, value) in fields.as_object().unwrap() {
        event[name] = value.clone();
    }
    parse(&BackendType::Claude, &event, seconds)
        .unwrap()
        .recording
}

fn prompt(text: &str, seconds: i64) -> Recording {
    claude("UserPromptSubmit", json!({"prompt": text}), seconds)
}

fn answer(text: &str, seconds: i64) -> Recording {
    claude("Stop", json!({"last_assistant_message": text}), seconds)
}

fn parse(backend: &BackendType, event: &Value, seconds: i64) -> Result<HookEvent, Error> {
    HookEvent::parse(backend, &event.to_string(), at(seconds))
}

/// Codex' argument of `notify`.
fn notify(turn: &str, prompts: &[&str], answer: &str, seconds: i64) -> Recording {
    let event = json!({
        "type": "agent-turn-complete", "thread-id": ID, "turn-id": turn, "cwd": "/srv",
        "client": "codex_exec", "input-messages": prompts, "last-assistant-message": answer,
    });
    parse(&BackendType::Codex, &event, seconds)
        .unwrap()
        .recording
}

/// The lines of a transcript: `(who, message id, text, second)`.
fn transcript(lines: &[(&str, &str, &str, i64)]) -> String {
    let lines = lines.iter().enumerate().map(|(index, (role, id, text, seconds))| {
        json!({
            "type": role, "uuid": format!("00000000-0000-4000-8000-{index:012}"), "sessionId": ID,
            "cwd": "/srv", "timestamp": at(*seconds).to_rfc3339(),
            "message": {"role": role, "id": id, "content": [{"type": "text", "text": text}]},
        })
    });
    jsonl(&lines.collect::<Vec<_>>())
}

fn recorded(lines: &[(&str, &str, &str, i64)]) -> Recording {
    let folder = Folder::new();
    read(&folder.file(&format!("projects/-srv/{ID}.jsonl"), transcript(lines)))
}

/// The trimmed texts of the history after these, one after the other.
fn history(recordings: &[&Recording]) -> Vec<String> {
    let turns = recordings
        .iter()
        .fold(Vec::new(), |turns, recording| stored(recording, &turns));
    turns.into_iter().map(text).collect()
}

fn text(turn: ConversationTurn) -> String {
    format!("{}: {}", turn.role, turn.content.trim())
}

#[test]
fn prompts_and_answers_are_words_of_an_event() {
    let event = prompt("Why?", 0);
    assert_eq!(turns(&event), ["user: Why?"]);
    assert_eq!(event.session_id.as_str(), ID);
    assert_eq!(event.working_dir.as_ref().unwrap().as_str(), "/srv");
    assert_eq!(event.first_timestamp(), Some(at(0)));
    assert_eq!(turns(&answer("Because.", 1)), ["assistant: Because."]);
    let event = notify("1", &["Why?", "And how?"], "Because.", 2);
    let said = ["user: Why?", "user: And how?", "assistant: Because."];
    assert_eq!(turns(&event), said);
}

#[test]
fn an_event_names_the_file_of_its_session() {
    let path = "/home/ada/x.jsonl";
    let event = json!({"session_id": ID, "hook_event_name": "SessionEnd", "transcript_path": path});
    for backend in [BackendType::Claude, BackendType::Codex] {
        let event = parse(&backend, &event, 0).unwrap();
        assert_eq!(event.transcript.unwrap().to_str(), Some(path));
        assert!(event.recording.messages.is_empty());
    }
}

#[test]
fn texts_of_the_program_and_of_sub_agents_are_no_words() {
    for text in [
        "<task-notification>x</task-notification>",
        "/clear",
        " ",
        "{\"task_id\": 1}",
    ] {
        assert!(prompt(text, 0).messages.is_empty(), "{text}");
    }
    assert_eq!(
        turns(&prompt("/review the cart", 0)),
        ["user: /review the cart"]
    );
    let context = "<environment_context>x</environment_context>";
    assert_eq!(
        turns(&notify("1", &[context, "Why?"], " ", 0)),
        ["user: Why?"]
    );
    let fields = json!({"last_assistant_message": "x", "agent_id": "a"});
    for name in ["Stop", "SubagentStop", "PreToolUse"] {
        assert!(
            claude(name, fields.clone(), 0).messages.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn other_texts_are_no_events() {
    let parse = |text: &str| HookEvent::parse(&BackendType::Claude, text, at(0));
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        "",
        "{",
        "[]",
        "7",
        "{}",
        r#"{"session_id":7}"#,
        r#"{"session_id":""}"#,
        &nested,
    ] {
        assert!(matches!(parse(text), Err(Error::NoEvent)), "{text:.40}");
    }
    let invalid = parse(r#"{"session_id":"a\nb","hook_event_name":"Stop"}"#);
    assert!(matches!(invalid, Err(Error::InvalidId { .. })));
    let folder = parse(r#"{"session_id":"a","cwd":"/a\u001b"}"#);
    assert!(matches!(folder, Err(Error::InvalidFolder { .. })));
    // An agent may add any field, and change the type of one that is not needed.
    let odd = r#"{"session_id":"a","hook_event_name":"Stop","cwd":7,"new":{"x":[]},"last_assistant_message":"x\ud800"}"#;
    assert_eq!(
        turns(&parse(odd).unwrap().recording),
        ["assistant: x\u{fffd}"]
    );
    let goose = HookEvent::parse(&BackendType::Goose, "{}", at(0));
    assert!(matches!(goose, Err(Error::UnsupportedBackend { .. })));
}

#[test]
fn an_import_repeats_no_words_of_hooks() {
    let file = recorded(&[
        ("user", "", "Why?", 0),
        ("assistant", "msg_1", "\nBecause.  \n", 2),
        ("user", "", "go on", 10),
        ("assistant", "msg_2", "Done.", 12),
        ("user", "", "go on", 20),
        ("assistant", "msg_3", "Done.", 22),
    ]);
    let said = [
        "user: Why?",
        "assistant: Because.",
        "user: go on",
        "assistant: Done.",
        "user: go on",
        "assistant: Done.",
    ];
    let hooks = [
        prompt("Why?", 0),
        answer("Because.", 2),
        prompt("go on", 10),
        answer("Done.", 12),
        prompt("go on", 20),
        answer("Done.", 23),
    ];
    let all: Vec<_> = hooks.iter().collect();
    assert_eq!(history(&all), said);
    // The import, twice, and every hook once more.
    let again: Vec<_> = all
        .iter()
        .copied()
        .chain([&file, &file])
        .chain(all.iter().copied())
        .collect();
    assert_eq!(history(&again), said);
    // The import was faster than the hooks.
    let late: Vec<_> = std::iter::once(&file).chain(all.iter().copied()).collect();
    assert_eq!(history(&late), said);
    // Some hooks failed.
    let first_two = [&hooks[0], &hooks[1], &file];
    assert_eq!(history(&first_two), said);
}

#[test]
fn a_turn_of_a_hook_is_one_message_nearby() {
    let file = recorded(&[
        ("user", "", "go on", 0),
        ("assistant", "msg_1", "Done.", 5),
        ("user", "", "go on", 30),
        ("assistant", "msg_2", "Done.", 3600),
    ]);
    let said = [
        "user: go on",
        "user: go on",
        "assistant: Done.",
        "assistant: Done.",
    ];
    let mut all = history(&[&prompt("go on", 0), &file]);
    all.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(all, said);
}

#[test]
fn an_answer_of_several_blocks_is_stored_once() {
    let first = recorded(&[("user", "", "Why?", 0), ("assistant", "msg_1", "First.", 1)]);
    let both = recorded(&[
        ("user", "", "Why?", 0),
        ("assistant", "msg_1", "First.", 1),
        ("assistant", "msg_1", "Last.", 3),
    ]);
    // Claude Code reports the last block alone.
    let stop = answer("Last.", 3);
    let said = ["user: Why?", "assistant: First.", "assistant: Last."];
    assert_eq!(history(&[&first, &stop, &both, &both]), said);
    let said = ["user: Why?", "assistant: First.\nLast."];
    assert_eq!(history(&[&both, &stop]), said);
    let turns = history(&[&prompt("Why?", 0), &stop, &both, &both]);
    assert_eq!(
        turns,
        ["user: Why?", "assistant: Last.", "assistant: First."]
    );
}

#[test]
fn a_prompt_that_waited_is_stored_once() {
    let folder = Folder::new();
    let enqueue = json!({"type": "queue-operation", "operation": "enqueue", "content": "And?",
        "timestamp": at(2).to_rfc3339(), "sessionId": ID});
    let mut lines = transcript(&[("user", "", "Why?", 0), ("assistant", "msg_1", "Hm.", 1)]);
    lines += &format!("{enqueue}\n");
    let waiting = read(&folder.file(&format!("projects/-srv/{ID}.jsonl"), &lines));
    lines += &transcript(&[
        ("user", "", "Why?", 0),
        ("assistant", "msg_1", "Hm.", 1),
        ("assistant", "msg_2", "So.", 3),
        ("user", "", "And?", 4),
    ]);
    let taken_up = read(&folder.file(&format!("projects/-srv/{ID}.jsonl"), &lines));
    let said = [
        "user: Why?",
        "assistant: Hm.",
        "user: And?",
        "assistant: So.",
    ];
    let hooks = [answer("So.", 3), prompt("And?", 4)];
    assert_eq!(history(&[&waiting, &hooks[0], &hooks[1], &taken_up]), said);
}

#[test]
fn turns_of_codex_are_told_apart_by_their_ids() {
    let first = notify("1", &["go on"], "Done.", 0);
    let second = notify("2", &["go on"], "Done.", 10);
    let said = [
        "user: go on",
        "assistant: Done.",
        "user: go on",
        "assistant: Done.",
    ];
    assert_eq!(history(&[&first, &first, &second, &second, &first]), said);
    // The hooks of Codex report the same turn as `notify`.
    let event = json!({"hook_event_name": "UserPromptSubmit", "session_id": ID, "turn_id": "1",
        "prompt": "go on", "cwd": "/srv"});
    let hook = parse(&BackendType::Codex, &event, 0).unwrap().recording;
    assert_eq!(history(&[&hook, &first, &hook]), said[..2]);
}
