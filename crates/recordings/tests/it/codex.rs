use serde_json::{Value, json};

use crate::support::{Folder, keys, read, turns};

const ID: &str = "019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03";
const FILE: &str = "rollout-2026-10-02T09-30-11-019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03.jsonl";

fn line(kind: &str, payload: Value) -> Value {
    json!({"timestamp": "2026-10-02T07:30:11.402Z", "type": kind, "payload": payload})
}

fn meta() -> Value {
    line(
        "session_meta",
        json!({"id": "thread", "cwd": "/srv/shop", "timestamp": "2026-10-02T07:30:00.000Z", "source": "cli"}),
    )
}

fn message(role: &str, texts: &[&str]) -> Value {
    let kind = if role == "assistant" {
        "output_text"
    } else {
        "input_text"
    };
    let blocks: Vec<_> = texts
        .iter()
        .map(|text| json!({"type": kind, "text": text}))
        .collect();
    json!({"type": "message", "role": role, "content": blocks})
}

fn turns_of(lines: &[Value]) -> Vec<String> {
    let folder = Folder::new();
    turns(&read(&folder.jsonl(FILE, lines)))
}

#[test]
fn only_response_items_with_messages_are_turns() {
    assert_eq!(
        turns_of(&[
            meta(),
            line("response_item", message("developer", &["x"])),
            line("response_item", message("system", &["x"])),
            line("response_item", message("user", &["Why?"])),
            line(
                "event_msg",
                json!({"type": "user_message", "message": "Why?"})
            ),
            line(
                "response_item",
                json!({"type": "reasoning", "summary": [{"text": "x"}]})
            ),
            line(
                "response_item",
                json!({"type": "function_call", "arguments": "x"})
            ),
            line(
                "response_item",
                json!({"type": "agent_message", "content": [{"type": "input_text", "text": "x"}]})
            ),
            line(
                "response_item",
                message("assistant", &["Looking.", "Found it."])
            ),
            line("response_item", message("assistant", &[" "])),
            line(
                "compacted",
                json!({"message": "x", "replacement_history": [message("user", &["Why?"])]})
            ),
            line("a type of the future", message("user", &["x"])),
        ]),
        ["user: Why?", "assistant: Looking.\nFound it."]
    );
}

#[test]
fn program_blocks_of_a_message_are_dropped() {
    let program = [
        "<environment_context>x",
        "<user_instructions>x",
        "<permissions instructions>x",
        "<collaboration_mode>x",
        "<skills_instructions>x",
        "<apps_instructions>x",
        "<plugins_instructions>x",
        "<personality_spec>x",
        "<turn_aborted>x",
        "<subagent_notification>x",
        "<user_shell_command>x",
        "<user_action>x",
        "<skill>x",
        "<model_switch>x",
        "<image name=x>",
        "<image>",
        "</image>",
        "<INSTRUCTIONS>x",
        "<ide_context>x",
        "<memory>x",
        "<recommended_plugins>x",
        "<goal_context>x",
        "<hook_prompt>x",
        "<realtime_conversation>x",
        "<multi_agent_mode>x",
        "# AGENTS.md instructions for /srv",
        " \n<skill>x",
    ];
    for text in program {
        let lines = [
            meta(),
            line("response_item", message("user", &[text, "Real."])),
        ];
        assert_eq!(turns_of(&lines), ["user: Real."], "{text}");
    }
    let answer = [
        meta(),
        line("response_item", message("assistant", &["<skill> is a tag"])),
    ];
    assert_eq!(turns_of(&answer), ["assistant: <skill> is a tag"]);
    let tag = [
        meta(),
        line("response_item", message("user", &["<images> is no tag"])),
    ];
    assert_eq!(turns_of(&tag), ["user: <images> is no tag"]);
}

#[test]
fn the_session_id_is_that_of_the_first_header() {
    let folder = Folder::new();
    let mut fork = meta();
    fork["payload"]["id"] = json!("another");
    fork["payload"]["cwd"] = json!("/elsewhere");
    let recording = read(&folder.jsonl(FILE, &[meta(), fork]));
    assert_eq!(recording.session_id.as_str(), "thread");
    assert_eq!(recording.working_dir.unwrap().as_str(), "/srv/shop");
    assert!(recording.messages.is_empty());
}

#[test]
fn without_a_header_the_session_id_is_that_of_the_file_name() {
    let folder = Folder::new();
    let lines = [line("response_item", message("user", &["a"]))];
    let recording = read(&folder.jsonl(FILE, &lines));
    assert_eq!(recording.session_id.as_str(), ID);
    assert_eq!(recording.working_dir, None);
}

#[test]
fn lines_without_a_time_take_that_of_the_header() {
    let folder = Folder::new();
    let untimed = json!({"type": "response_item", "payload": message("user", &["a"])});
    let mut invalid = line("response_item", message("user", &["b"]));
    invalid["timestamp"] = json!("soon");
    let timed = line("response_item", message("user", &["c"]));
    let recording = read(&folder.jsonl(FILE, &[meta(), untimed, invalid, timed]));
    let times = recording
        .messages
        .iter()
        .map(|m| m.timestamp.map(|t| t.to_rfc3339()));
    assert_eq!(
        times.collect::<Vec<_>>(),
        [
            Some("2026-10-02T07:30:00+00:00".to_owned()),
            None,
            Some("2026-10-02T07:30:11.402+00:00".to_owned())
        ]
    );
}

#[test]
fn files_from_before_the_envelope_are_read() {
    let folder = Folder::new();
    let path = folder.jsonl(
        "rollout-2025-08-12T09-15-02-x.jsonl",
        &[
            json!({"id": "old", "timestamp": "2025-08-12T09:15:02.117Z", "instructions": null, "git": {}}),
            json!({"record_type": "state"}),
            message("user", &["<environment_context>x"]),
            message("user", &["Why?"]),
            json!({"type": "reasoning", "id": "rs_1", "summary": []}),
            message("assistant", &["So."]),
        ],
    );
    let recording = read(&path);
    assert_eq!(recording.session_id.as_str(), "old");
    assert_eq!(recording.working_dir, None);
    assert_eq!(turns(&recording), ["user: Why?", "assistant: So."]);
    let time = recording.first_timestamp().unwrap();
    assert_eq!(time.to_rfc3339(), "2025-08-12T09:15:02.117+00:00");
}

#[test]
fn paginated_files_are_read() {
    let mut item = line("response_item", message("assistant", &["Done."]));
    item["ordinal"] = json!(8);
    item["payload"]["id"] = json!("msg_8");
    item["payload"]["phase"] = json!("commentary");
    let folder = Folder::new();
    let path = folder.jsonl(
        FILE,
        &[
            meta(),
            line("world_state", json!({"full": true})),
            item,
            line("event_msg", json!({"type": "item_completed", "item": {"type": "AgentMessage", "content": [{"type": "Text", "text": "Done."}]}})),
        ],
    );
    let recording = read(&path);
    assert_eq!(turns(&recording), ["assistant: Done."]);
    assert_eq!(keys(&recording), ["msg_8"]);
}

#[test]
fn equal_messages_have_different_keys_that_a_cut_keeps() {
    let folder = Folder::new();
    let again = line("response_item", message("user", &["go on"]));
    let lines = [meta(), again.clone(), again];
    let whole = read(&folder.jsonl(FILE, &lines));
    let cut = read(&folder.jsonl(FILE, &lines[..2]));
    assert_eq!(turns(&whole).len(), 2);
    assert_ne!(keys(&whole)[0], keys(&whole)[1]);
    assert_eq!(keys(&whole)[0], keys(&cut)[0]);
}
