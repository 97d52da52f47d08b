use serde_json::{Value, json};

use turnkeep_recordings::{Error, find};

use crate::support::{Folder, jsonl, keys, read, read_all, turns};

const ID: &str = "019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03";
const FILE: &str = "rollout-2026-10-02T09-30-11-019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03.jsonl";

fn line(kind: &str, payload: Value) -> Value {
    json!({"timestamp": "2026-10-02T07:30:11.402Z", "type": kind, "payload": payload})
}

fn meta() -> Value {
    line(
        "session_meta",
        json!({"id": ID, "cwd": "/srv/shop", "timestamp": "2026-10-02T07:30:00.000Z", "source": "cli"}),
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
    let of = |role: &str, texts: &[&str]| {
        turns_of(&[meta(), line("response_item", message(role, texts))])
    };
    let program = "<environment_context>\n<cwd>/srv</cwd>\n</environment_context>";
    assert_eq!(
        of("user", &[program, "Real.", "<image name=x>", "</image>"]),
        ["user: Real."]
    );
    assert_eq!(
        of("user", &["<skill> is a tag"]),
        ["user: <skill> is a tag"]
    );
    let answer = of("assistant", &[program]);
    assert_eq!(answer, [format!("assistant: {program}")]);
}

#[test]
fn the_kinds_of_the_blocks_decide() {
    let of = |kinds: Value, texts: &[&str]| {
        let mut item = message("user", texts);
        item["internal_chat_message_metadata_passthrough"] = json!({"content_item_kinds": kinds});
        turns_of(&[meta(), line("response_item", item)])
    };
    let element = "<skill>x</skill>";
    assert_eq!(
        of(json!(["user.text", "goal.context"]), &[element, "x"]),
        [format!("user: {element}")]
    );
    assert_eq!(of(json!(["user.text"]), &["<image>"]), ["user: <image>"]);
    assert_eq!(
        of(json!(["user.image", "user.text"]), &["<image>", "</image>"]),
        [""; 0]
    );
    assert_eq!(
        of(json!(["user.future", "user.future"]), &[element, "y"]),
        ["user: y"]
    );
    assert_eq!(
        of(json!(["goal.context"]), &["a", element]),
        ["user: a"],
        "not one per block"
    );
}

#[test]
fn the_summary_of_a_compaction_is_no_turn() {
    let mut item = message("user", &["x"]);
    item["metadata"] = json!({"compaction_output": true});
    let mut outside = line("response_item", message("assistant", &["x"]));
    outside["metadata"] = json!({"compaction_output": true});
    assert_eq!(
        turns_of(&[meta(), line("response_item", item), outside]),
        [""; 0]
    );
}

#[test]
fn what_was_said_in_a_voice_conversation_is_a_turn() {
    let said = |role: &str, text: &str| {
        line(
            "realtime_item",
            json!({"type": "transcript_segment", "id": text, "role": role, "text": text}),
        )
    };
    assert_eq!(
        turns_of(&[
            meta(),
            line(
                "realtime_item",
                json!({"type": "realtime_session_started", "id": "x"})
            ),
            said("user", "inspect it"),
            said("assistant", "I do."),
            said("system", "x"),
            completed("1", "AgentMessage", "Done."),
        ]),
        ["user: inspect it", "assistant: I do.", "assistant: Done."]
    );
}

fn completed(id: &str, kind: &str, text: &str) -> Value {
    let content = json!([{"type": "Text", "text": text}]);
    let item = json!({"type": kind, "id": id, "content": content});
    line("event_msg", json!({"type": "item_completed", "item": item}))
}

#[test]
fn events_are_turns_only_where_a_file_has_no_messages() {
    let events = [
        meta(),
        completed("1", "UserMessage", "<skill>x</skill>"),
        completed("2", "CommandExecution", "x"),
        completed("3", "AgentMessage", "b"),
        completed("3", "AgentMessage", "b"),
        line("response_item", message("developer", &["x"])),
    ];
    assert_eq!(
        turns_of(&events),
        ["user: <skill>x</skill>", "assistant: b"]
    );
    let answer = line("response_item", message("assistant", &["c"]));
    assert_eq!(
        turns_of(&[&events[..], &[answer]].concat()),
        ["assistant: c"]
    );
}

fn numbered(second: i64, role: &str, text: &str) -> Value {
    let mut line = line("response_item", message(role, &[text]));
    line["timestamp"] = json!(format!("2026-10-02T07:30:{second:02}.000Z"));
    line["ordinal"] = json!(second);
    line
}

fn thread(number: u32) -> String {
    format!("019f3c5e-7a10-7b42-9c8d-{number:012}")
}

fn header(id: &str, base: Option<(&str, i64)>) -> Value {
    let base = base.map(|(id, end)| json!({"thread_id": id, "end_ordinal_exclusive": end}));
    line(
        "session_meta",
        json!({"id": id, "cwd": "/srv", "source": "cli", "history_base": base}),
    )
}

fn rollout(name: &str) -> String {
    format!("home/sessions/2026/10/02/rollout-2026-10-02T09-30-11-{name}.jsonl")
}

#[test]
fn a_fork_begins_with_what_it_inherits() {
    let folder = Folder::new();
    let (parent, fork, second) = (thread(1), thread(2), thread(3));
    let file = |id: &str, lines: &[Value]| folder.jsonl(&rollout(id), lines);
    file(
        &parent,
        &[
            header(&parent, None),
            numbered(1, "user", "a"),
            numbered(2, "assistant", "b"),
            numbered(3, "user", "not inherited"),
        ],
    );
    let of_parent = header(&fork, Some((&parent, 3)));
    file(
        &fork,
        &[
            of_parent,
            numbered(4, "user", "c"),
            numbered(5, "user", "cut"),
        ],
    );
    let of_fork = header(&second, Some((&fork, 5)));
    let path = file(&second, &[of_fork, numbered(6, "user", "d")]);
    let recording = read(&path);
    assert_eq!(
        turns(&recording),
        ["user: a", "assistant: b", "user: c", "user: d"]
    );
    assert_eq!(recording.missing_parent, None);
    assert_eq!(read_all(folder.path()).unwrap().len(), 3);

    // Another session has the name of the parent, and then nothing has it.
    let other = jsonl(&[header(&thread(9), None), numbered(1, "user", "of another")]);
    for bytes in [Some(other.as_bytes()), None] {
        match bytes {
            Some(bytes) => std::fs::write(folder.path().join(rollout(&parent)), bytes),
            None => std::fs::remove_file(folder.path().join(rollout(&parent))),
        }
        .unwrap();
        let recording = read(&path);
        assert_eq!(turns(&recording), ["user: c", "user: d"]);
        assert_eq!(recording.missing_parent.as_ref(), Some(&parent));
    }
}

#[test]
fn forks_in_a_circle_end() {
    let folder = Folder::new();
    let ids = [thread(1), thread(2)];
    for (id, other) in [(&ids[0], &ids[1]), (&ids[1], &ids[0])] {
        let lines = [header(id, Some((other, 9))), numbered(1, "user", id)];
        folder.jsonl(&rollout(id), &lines);
    }
    for recording in read_all(folder.path()).unwrap() {
        assert!(recording.messages.len() <= 2, "{recording:?}");
    }
}

#[test]
fn the_files_of_a_reverted_thread_are_one_session() {
    let folder = Folder::new();
    let (id, second) = (thread(1), thread(2));
    let first = [numbered(1, "user", "a"), numbered(3, "user", "reverted")];
    let before = [&[header(&id, None)][..], &first].concat();
    folder.jsonl(&rollout(&id), &before);
    let reverted = header(&id, Some((&id, 2)));
    let own = [
        numbered(1, "user", "a"),
        numbered(2, "assistant", "b"),
        numbered(4, "user", "c"),
    ];
    let after = [&[reverted][..], &own].concat();
    folder.jsonl(&rollout(&format!("{id}_{second}")), &after);
    let recording = read(folder.path());
    assert_eq!(recording.session_id.as_str(), id);
    assert_eq!(
        turns(&recording),
        ["user: a", "assistant: b", "user: reverted", "user: c"]
    );
}

#[test]
fn equal_messages_of_one_file_count_each() {
    let folder = Folder::new();
    let id = thread(1);
    let twice = [
        header(&id, None),
        numbered(1, "user", "a"),
        numbered(1, "user", "a"),
    ];
    folder.jsonl(&rollout(&id), &twice);
    folder.jsonl(
        &format!("home/archived_sessions/rollout-x-{id}.jsonl"),
        &twice[..2],
    );
    assert_eq!(turns(&read(folder.path())), ["user: a", "user: a"]);
}

#[test]
fn a_file_that_the_user_names_is_one_of_its_session() {
    let folder = Folder::new();
    let id = thread(1);
    let first = folder.jsonl(
        &rollout(&id),
        &[header(&id, None), numbered(1, "user", "a")],
    );
    let second = rollout(&format!("{id}_{}", thread(2)));
    folder.jsonl(&second, &[header(&id, None), numbered(2, "user", "b")]);
    let mut found = find(&first, None).unwrap();
    found.add(find(folder.path(), None).unwrap());
    assert_eq!(found.sources.len(), 1);
    assert_eq!(found.sources[0].files().len(), 2);
}

#[test]
fn a_compressed_rollout_is_read_like_a_plain_one() {
    let folder = Folder::new();
    let id = thread(1);
    let lines = crate::support::jsonl(&[header(&id, None), numbered(1, "user", "a")]);
    let compressed = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let name = rollout(&id) + ".zst";
    let path = folder.file(&name, &compressed);
    for path in [folder.path(), &path] {
        let recording = read(path);
        assert_eq!(recording.session_id.as_str(), id);
        assert_eq!(turns(&recording), ["user: a"]);
    }
    folder.jsonl(
        &rollout(&id),
        &[header(&id, None), numbered(1, "user", "plain")],
    );
    assert_eq!(turns(&read(folder.path())), ["user: plain"]);

    let damaged = Folder::new();
    damaged.file(&name, &compressed[..compressed.len() / 2]);
    assert!(matches!(read_all(damaged.path()), Err(Error::Io { .. })));
}

#[test]
fn a_name_that_disagrees_with_its_header_is_passed_over() {
    let folder = Folder::new();
    let lines = [header(&thread(2), None), numbered(1, "user", "a")];
    let path = folder.jsonl(&rollout(&thread(1)), &lines);
    for at in [folder.path(), &path] {
        assert!(matches!(read_all(at), Err(Error::OtherSession { .. })));
    }
    let unnamed = folder.jsonl("rollout-x.jsonl", &lines);
    assert!(find(folder.path(), None).unwrap().sources[1].is_claim());
    assert_eq!(read(&unnamed).session_id.as_str(), thread(2));
}

#[test]
fn a_thread_is_named_by_its_events_or_by_the_index() {
    let folder = Folder::new();
    let id = thread(1);
    let name = |name: &str| {
        line(
            "event_msg",
            json!({"type": "thread_name_updated", "thread_name": name}),
        )
    };
    let index = [("old", &id), ("of the index", &id), ("x", &thread(2))]
        .map(|(name, id)| json!({"id": id, "thread_name": name}));
    folder.jsonl("home/session_index.jsonl", &index);
    let said = numbered(1, "user", "Fix it");
    let path = folder.jsonl(&rollout(&id), &[header(&id, None), said.clone()]);
    assert_eq!(read(&path).title.unwrap(), "of the index");
    folder.jsonl(
        &rollout(&id),
        &[header(&id, None), name("a"), name("b"), said],
    );
    assert_eq!(read(&path).title.unwrap(), "b");
}

#[test]
fn the_session_id_is_that_of_the_first_header() {
    let folder = Folder::new();
    let mut fork = meta();
    fork["payload"]["id"] = json!("another");
    fork["payload"]["cwd"] = json!("/elsewhere");
    let recording = read(&folder.jsonl(FILE, &[meta(), fork]));
    assert_eq!(recording.session_id.as_str(), ID);
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
            message("user", &["<environment_context>x</environment_context>"]),
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
