use serde_json::{Value, json};

use crate::support::{Folder, keys, read, turns};

fn header() -> Value {
    json!({"working_dir": "/srv/shop", "description": "Cart", "message_count": 2})
}

fn message(role: &str, content: Value) -> Value {
    json!({"role": role, "created": 1_791_190_800, "content": content})
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

#[test]
fn only_visible_messages_are_turns() {
    let folder = Folder::new();
    let mut hidden = message("user", text("x"));
    hidden["metadata"] = json!({"userVisible": false});
    let mut named = message("assistant", text("Because."));
    named["id"] = json!("msg_1");
    named["created"] = json!(1_791_190_800_250_i64);
    let path = folder.jsonl(
        "20261005_1.jsonl",
        &[
            header(),
            message("user", text("Why?")),
            message(
                "assistant",
                json!([{"type": "toolRequest", "id": "t", "toolCall": {}}]),
            ),
            message(
                "user",
                json!([{"type": "toolResponse", "id": "t", "toolResult": {"value": text("x")}}]),
            ),
            message("system", text("x")),
            hidden,
            named,
        ],
    );
    let recording = read(&path);
    assert_eq!(recording.session_id.as_str(), "20261005_1");
    assert_eq!(
        recording.working_dir.as_ref().unwrap().as_str(),
        "/srv/shop"
    );
    assert_eq!(turns(&recording), ["user: Why?", "assistant: Because."]);
    assert_eq!(keys(&recording)[1], "msg_1");
    let times = [recording.first_timestamp(), recording.last_timestamp()];
    assert_eq!(
        times.map(|time| time.unwrap().to_rfc3339()),
        ["2026-10-05T09:00:00+00:00", "2026-10-05T09:00:00.250+00:00"]
    );
}

#[test]
fn the_header_is_optional_and_any_file_name_an_id() {
    let folder = Folder::new();
    let old = message(
        "user",
        json!([{"text": "Why?"}, {"id": "t", "tool_name": "x", "arguments": {}}]),
    );
    let recording = read(&folder.jsonl("agent-é x.jsonl", &[old]));
    assert_eq!(recording.session_id.as_str(), "agent-é x");
    assert_eq!(recording.working_dir, None);
    assert_eq!(turns(&recording), ["user: Why?"]);
}

#[test]
fn a_cut_last_line_counts_as_damaged() {
    let folder = Folder::new();
    let line = message("user", text("a")).to_string();
    let recording = read(&folder.file("x.jsonl", format!("{line}\n{}", &line[..30])));
    assert_eq!(turns(&recording), ["user: a"]);
    assert_eq!(recording.unparsable_lines, 1);
}
