use std::path::Path;
use std::slice;

use serde_json::{Value, json};
use turnkeep_recordings::{Error, find};

use crate::support::{Folder, jsonl, keys, read, read_all, stored, turns};

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
            assistant("a4", Some("msg_1"), text("Second.")),
            assistant("a5", Some("msg_1"), text("First.")),
            user("u3", "And?"),
            assistant("a6", Some("msg_1"), text(" ")),
            assistant("a7", Some("msg_1"), text("Third.")),
            assistant("a8", None, text("First.")),
        ],
    );
    let recording = read(&path);
    assert_eq!(
        turns(&recording),
        [
            "user: Why?",
            "assistant: First.\nSecond.",
            "user: And?",
            "assistant: Third.",
            "assistant: First."
        ]
    );
    assert_eq!(keys(&recording), ["u1", "msg_1", "u3", "a7", "a8"]);
    let time = recording.messages[1].timestamp.unwrap();
    assert_eq!(time.to_rfc3339(), "2026-10-01T08:00:02+00:00");
    assert_eq!(recording.first_timestamp(), recording.messages[0].timestamp);
    assert_eq!(recording.last_timestamp(), recording.messages[4].timestamp);
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
    let synthetic = |said: &str| {
        let mut line = assistant(&format!("a-{said}"), Some(said), text(said));
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
            with(user("u5", "synthetic"), "isSynthetic", json!(true)),
            with(
                user("u6", "to a sub-agent"),
                "parent_tool_use_id",
                json!("t")
            ),
            with(user("u8", "of a peer"), "origin", json!({"kind": "peer"})),
            synthetic("No response requested."),
            synthetic("(no content)"),
            synthetic("interrupted"),
            with(
                assistant("a6", Some("msg_3"), text("529")),
                "isApiErrorMessage",
                json!(true)
            ),
            json!({"type": "summary", "summary": "x", "leafUuid": "x"}),
            json!({"type": "system", "subtype": "compact_boundary", "content": "x", "uuid": "s1"}),
            json!({"type": "queue-operation", "operation": "remove", "content": "x", "sessionId": ID}),
            json!({"type": "attachment", "attachment": {"type": "queued_command", "prompt": "x"}}),
            json!({"type": "a type of the future", "message": {"content": "x"}}),
            with(user("u7", "kept"), "isMeta", json!("an unexpected type")),
        ]),
        ["assistant: interrupted", "user: kept"]
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
fn a_typed_prompt_may_begin_like_program_text() {
    let typed = |uuid, content: Value| with(user(uuid, content), "promptSource", json!("typed"));
    assert_eq!(
        turns_of(&[
            typed("u1", json!("<bash-input> is dropped, why?")),
            typed(
                "u2",
                json!([text("<ide_selection>x</ide_selection>"), text("and this?")])
            ),
            typed("u3", json!("Another Claude session sent a message:\nx")),
            user("u4", "<bash-input>ls</bash-input>"),
        ]),
        ["user: <bash-input> is dropped, why?", "user: and this?"]
    );
}

fn queued(uuid: &str, prompt: impl Into<Value>) -> Value {
    json!({
        "type": "attachment", "uuid": uuid, "sessionId": ID, "timestamp": "2026-10-01T08:00:00.000Z",
        "attachment": {"type": "queued_command", "commandMode": "prompt", "prompt": prompt.into()},
    })
}

fn enqueue(second: u32, content: &str) -> Value {
    json!({
        "type": "queue-operation", "operation": "enqueue", "content": content, "sessionId": ID,
        "timestamp": format!("2026-10-01T08:00:{second:02}.000Z"),
    })
}

#[test]
fn prompts_that_reached_the_agent_at_work_are_turns() {
    let of_program = |name: &str, value: Value| {
        let mut line = queued(name, "x");
        line["attachment"][name] = value;
        line
    };
    assert_eq!(
        turns_of(&[
            queued("q1", "a"),
            queued("q2", json!([text("b"), text("<system-reminder>x")])),
            of_program("commandMode", json!("task-notification")),
            of_program("isMeta", json!(true)),
            of_program("origin", json!({"kind": "peer"})),
            with(queued("q3", "x"), "isSidechain", json!(true)),
        ]),
        ["user: a", "user: b"]
    );
}

#[test]
fn an_enqueued_prompt_is_a_turn_unless_a_later_line_repeats_it() {
    let answer = |uuid| assistant(uuid, Some("msg_1"), text(uuid));
    assert_eq!(
        turns_of(&[
            user("u0", "earlier"),
            enqueue(1, "earlier"),
            answer("a1"),
            enqueue(2, "absorbed"),
            answer("a2"),
            enqueue(3, "first"),
            enqueue(4, "second\nline"),
            enqueue(4, "second\nline"),
            enqueue(5, "queued"),
            enqueue(5, "ls"),
            enqueue(6, "/review the cart"),
            enqueue(7, "of a program line"),
            enqueue(8, "not a  whole"),
            queued("q1", "queued"),
            with(
                queued("q2", "ls"),
                "attachment",
                json!({"type": "queued_command", "commandMode": "bash", "prompt": "ls"})
            ),
            user("u1", "first\nsecond \t line"),
            user(
                "u2",
                "<command-name>/review</command-name><command-args>the cart</command-args>"
            ),
            with(user("u3", "of a program line"), "isMeta", json!(true)),
            with(user("u4", "absorbed"), "isSidechain", json!(true)),
            user("u5", "is not a whole line"),
        ]),
        [
            "user: earlier",
            "user: earlier",
            "assistant: a1\na2",
            "user: absorbed",
            "user: second\nline",
            "user: not a  whole",
            "user: queued",
            "user: first\nsecond \t line",
            "user: /review the cart",
            "user: is not a whole line",
        ]
    );
}

#[test]
fn what_is_enqueued_is_not_always_a_prompt() {
    assert_eq!(
        turns_of(&[
            enqueue(1, "<task-notification>x"),
            enqueue(2, "{\"task_id\": 1}"),
            enqueue(3, "/clear"),
            enqueue(4, " "),
            enqueue(5, "/srv/app is broken"),
            user("u1", "a"),
        ]),
        ["user: /srv/app is broken", "user: a"]
    );
}

#[test]
fn a_line_that_repeats_a_stored_prompt_adds_nothing() {
    let folder = Folder::new();
    let lines = [
        user("u1", "a"),
        enqueue(1, "go on"),
        enqueue(2, "and test"),
        user("u2", "go on\nand test"),
        user("u3", "go on"),
    ];
    let waiting = stored(&read(&folder.jsonl(FILE, &lines[..2])), &[]);
    let both = stored(&read(&folder.jsonl(FILE, &lines[..3])), &waiting);
    let whole = read(&folder.jsonl(FILE, &lines));
    let contents = |turns: Vec<turnkeep_model::ConversationTurn>| -> Vec<String> {
        turns.into_iter().map(|turn| turn.content).collect()
    };
    let expected = ["a", "go on", "and test", "go on"];
    assert_eq!(contents(stored(&whole, &both)), expected);
    assert_eq!(contents(stored(&whole, &waiting)), expected);
    assert_eq!(
        contents(stored(&whole, &[])),
        ["a", "go on\nand test", "go on"]
    );
    // An older copy, and one whose queue is gone.
    let later = json!("2026-10-01T08:00:03Z");
    let joined = with(user("u4", "go on\nand test"), "timestamp", later);
    let absorbed = read(&folder.jsonl(FILE, &[&lines[..3], slice::from_ref(&joined)].concat()));
    let older = read(&folder.jsonl(FILE, &lines[..3]));
    assert_eq!(older.new_messages(&stored(&absorbed, &[])), []);
    let no_queue = read(&folder.jsonl(FILE, &[lines[0].clone(), joined]));
    assert_eq!(no_queue.new_messages(&both), []);
    let rest: Vec<_> = no_queue
        .new_messages(&waiting)
        .into_iter()
        .map(|it| it.content)
        .collect();
    assert_eq!(rest, ["and test"]);
}

#[test]
fn a_prompt_that_a_line_of_the_program_repeats_stands_for_no_later_one() {
    let folder = Folder::new();
    let later = |uuid| {
        with(
            user(uuid, "go on"),
            "timestamp",
            json!("2026-10-01T08:00:03Z"),
        )
    };
    let lines = [
        enqueue(1, "go on"),
        user("u1", "a"),
        with(later("u2"), "isMeta", json!(true)),
        later("u3"),
    ];
    let waiting = stored(&read(&folder.jsonl(FILE, &lines[..2])), &[]);
    let whole = read(&folder.jsonl(FILE, &lines));
    assert_eq!(turns(&whole), ["user: a", "user: go on"]);
    assert_eq!(stored(&whole, &waiting).len(), 3);
}

#[test]
fn answers_and_the_reasons_of_refusals_are_turns() {
    let result = |uuid: &str, is_error: bool, content: Value| {
        let block = json!({
            "type": "tool_result", "tool_use_id": "t", "is_error": is_error, "content": content,
        });
        user(uuid, json!([block]))
    };
    let refused = |uuid, said: &str| {
        let text = format!(
            "The user doesn't want to proceed with this tool use. The tool use was rejected. \
             To tell you how to proceed, the user said:\n{said}"
        );
        result(uuid, true, json!(text))
    };
    let answered = with(
        result("u1", false, json!("User has answered your questions: …")),
        "toolUseResult",
        json!({
            "questions": [{"question": "Where?"}, {"question": "When?"}, {"question": "Who?"}],
            "answers": {"When?": ["now", "later"], "Else?": "nothing", "Where?": "in Graz", "Who?": 7},
        }),
    );
    assert_eq!(
        turns_of(&[
            answered,
            with(
                result("u2", false, json!("x")),
                "toolUseResult",
                json!({"answers": {"Q": "x"}})
            ),
            with(
                result("u3", false, json!("x")),
                "toolUseResult",
                json!("Error: x")
            ),
            refused("u4", " scale it to zero\n"),
            refused("u5", "The user wants to clarify these questions.\nx"),
            result(
                "u6",
                true,
                json!("The user doesn't want to proceed with this tool use. STOP")
            ),
            result(
                "u7",
                false,
                json!("The user doesn't want to proceed with this tool use. the user said:\nx")
            ),
            result(
                "u8",
                true,
                json!([text(
                    "The user doesn't want to proceed with this tool use. the user said:\n<bash-input>"
                )])
            ),
        ]),
        [
            "user: in Graz\nnow, later\nnothing",
            "user: scale it to zero",
            "user: <bash-input>"
        ]
    );
}

#[test]
fn a_message_from_a_channel_is_a_turn() {
    let from = |kind: &str| {
        let line = user(
            "u1",
            "<channel source=\"telegram\" user=\"a\">\nship it\n</channel>",
        );
        let line = with(line, "isMeta", json!(true));
        with(line, "origin", json!({"kind": kind, "server": "x"}))
    };
    assert_eq!(turns_of(&[from("channel")]), ["user: ship it"]);
    assert_eq!(turns_of(&[from("task-notification")]), [""; 0]);
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
fn the_session_id_is_that_of_the_file_name() {
    let folder = Folder::new();
    let lines = [
        with(user("u1", "a"), "sessionId", json!("its origin")),
        user("u2", "b"),
        json!({"type": "summary", "summary": "", "leafUuid": "x"}),
    ];
    let named = read(&folder.jsonl(FILE, &lines));
    assert_eq!(named.session_id.as_str(), ID);
    assert_eq!(named.task_id().unwrap().as_str(), format!("claude:{ID}"));
    assert_eq!(turns(&named), ["user: a", "user: b"]);
    let of_another = folder.jsonl(FILE, &lines[..1]);
    assert!(matches!(
        read_all(folder.path()),
        Err(Error::OtherSession { path }) if path == of_another
    ));
}

#[test]
fn a_file_that_the_user_names_may_have_any_name() {
    let folder = Folder::new();
    let other = with(user("u2", "b"), "sessionId", json!("another"));
    let one = folder.jsonl("one.jsonl", &[user("u1", "a")]);
    let mixed = folder.jsonl("mixed.jsonl", &[user("u1", "a"), other]);
    assert_eq!(read(&one).session_id.as_str(), ID);
    assert!(matches!(read_all(&mixed), Err(Error::OtherSession { .. })));
    let found = find(folder.path(), None).unwrap();
    assert_eq!((found.sources.len(), found.passed_over.len()), (0, 2));
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
    let elsewhere = read(&folder.jsonl(&format!("elsewhere/{ID}.jsonl"), &lines));
    assert_eq!(elsewhere.working_dir.unwrap().as_str(), "/srv/shop/src");
}

/// The line of a second with its uuid as text.
fn at(second: u32, uuid: &str) -> Value {
    let time = format!("2026-10-01T08:00:{second:02}.000Z");
    with(user(uuid, uuid), "timestamp", json!(time))
}

#[test]
fn the_files_of_a_session_are_merged_by_time() {
    let folder = Folder::new();
    let file = |project: &str| format!("home/projects/{project}/{ID}.jsonl");
    let untimed = with(user("a2", "a2"), "timestamp", json!(null));
    let old = [at(1, "a1"), untimed, at(4, "both"), at(6, "a6")];
    folder.jsonl(&file("-srv-shop"), &old);
    let moved =
        [at(3, "b3"), at(4, "both"), at(7, "b7")].map(|line| with(line, "cwd", json!("/srv/new")));
    let latest = folder.jsonl(&file("-srv-new"), &moved);
    let unrelated = with(user("c", "c"), "sessionId", json!("another"));
    let title = json!({"type": "custom-title", "customTitle": "x", "sessionId": "another"});
    let passed_over = folder.jsonl(&file("-srv-other"), &[unrelated, title]);

    let recording = read(folder.path());
    assert_eq!(keys(&recording), ["a1", "a2", "b3", "both", "a6", "b7"]);
    assert_eq!(recording.working_dir.as_ref().unwrap().as_str(), "/srv/new");
    assert_eq!(recording.path, latest);
    assert_eq!(recording.passed_over, [passed_over]);
    assert_eq!(recording.title, None);
}

#[test]
fn titles_are_of_the_user_then_of_the_model_then_of_a_summary() {
    let folder = Folder::new();
    let title = |lines: &[Value]| read(&folder.jsonl(FILE, lines)).title;
    let other = json!({"type": "summary", "summary": "of another", "leafUuid": "x"});
    let own = json!({"type": "summary", "summary": "of this", "leafUuid": "u1"});
    let model = |title: &str| json!({"type": "ai-title", "aiTitle": title, "sessionId": ID});
    let custom = json!({"type": "custom-title", "customTitle": "mine", "sessionId": ID});
    let prompt = user("u1", " Fix\nthe login. ");
    assert_eq!(title(&[other.clone(), prompt.clone()]), None);
    assert_eq!(
        title(&[own.clone(), other, prompt.clone()]).unwrap(),
        "of this"
    );
    assert_eq!(
        title(&[model("old"), own, prompt.clone(), model("new")]).unwrap(),
        "new"
    );
    assert_eq!(
        title(&[custom, prompt.clone(), model("new")]).unwrap(),
        "mine"
    );

    let named = |lines: &[Value]| read(&folder.jsonl(FILE, lines)).name();
    assert_eq!(named(std::slice::from_ref(&prompt)), "Fix the login.");
    assert_eq!(named(&[model("a title"), prompt]), "a title");
    assert_eq!(named(&[assistant("a1", None, text("x"))]), ID);
}

#[test]
fn a_log_has_the_last_session_and_the_first_folder() {
    let folder = Folder::new();
    let said = |session: &str, uuid: &str, parent: Value| {
        json!({
            "type": "user", "session_id": session, "uuid": uuid, "parent_tool_use_id": parent,
            "message": {"role": "user", "content": uuid},
        })
    };
    folder.file(
        "notes.log",
        "{\"session_id\": \"s1\", \"type\": \"other\"}\n",
    );
    let path = folder.jsonl(
        "run 1.log",
        &[
            json!({"type": "system", "subtype": "init", "session_id": "s1", "cwd": "/srv"}),
            said("s1", "u1", json!(null)),
            said("s1", "u2", json!("t")),
            said("s2", "u3", json!(null)),
            json!({"type": "result", "result": "x", "session_id": "s2"}),
        ],
    );
    let recording = read(&path);
    assert_eq!(recording.session_id.as_str(), "s2");
    assert_eq!(recording.working_dir.as_ref().unwrap().as_str(), "/srv");
    assert_eq!(turns(&recording), ["user: u1", "user: u3"]);
    let found = find(folder.path(), None).unwrap();
    assert!(found.sources[0].is_claim(), "its name proves nothing");
    assert!(!find(&path, None).unwrap().sources[0].is_claim());
}

#[test]
fn the_history_has_the_prompts_of_deleted_sessions() {
    const DELETED: &str = "0c1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70";
    let folder = Folder::new();
    folder.jsonl(FILE, &[user("u1", "still here")]);
    let prompt = |session: Option<&str>, millis: i64, display: &str| json!({"display": display, "timestamp": millis, "project": "/srv/garden", "sessionId": session});
    folder.jsonl(
        "history.jsonl",
        &[
            prompt(Some(ID), 1, "still here"),
            prompt(Some(DELETED), 1_784_000_000_000, "plan the garden"),
            prompt(Some(DELETED), 1_784_000_000_001, "/clear"),
            prompt(Some(DELETED), 1_784_000_000_002, "!ls"),
            prompt(None, 3, "of an old version"),
            prompt(Some(DELETED), 1_784_000_060_000, "/review the pond"),
        ],
    );
    let recordings = read_all(folder.path()).unwrap();
    assert_eq!(recordings.len(), 2);
    let deleted = &recordings[1];
    assert_eq!(deleted.session_id.as_str(), DELETED);
    assert_eq!(
        turns(deleted),
        ["user: plan the garden", "user: /review the pond"]
    );
    assert_eq!(
        deleted.working_dir.as_ref().unwrap().as_str(),
        "/srv/garden"
    );
    assert_eq!(
        deleted.first_timestamp().unwrap().to_rfc3339(),
        "2026-07-14T03:33:20+00:00"
    );

    // The transcript comes back from a backup, and is deleted again.
    let line = |uuid, content: &str| {
        let line = with(user(uuid, content), "sessionId", json!(DELETED));
        with(line, "timestamp", json!("2026-07-14T03:33:21Z"))
    };
    let backup = Path::new("backup").join(format!("{DELETED}.jsonl"));
    let lines = [
        line("u1", "plan the garden"),
        line("u2", "/review the pond"),
        line("u3", "thanks"),
    ];
    let transcript = read(&folder.jsonl(backup.to_str().unwrap(), &lines));
    let history = stored(deleted, &[]);
    let both = stored(&transcript, &history);
    assert_eq!(both.len(), 3, "{both:?}");
    assert_eq!(deleted.new_messages(&stored(&transcript, &[])), []);
}

#[test]
fn lines_of_qwen_code_are_not_read() {
    let folder = Folder::new();
    let line = json!({
        "type": "user", "uuid": "u", "sessionId": ID, "message": {"role": "user", "parts": [{"text": "x"}]},
    });
    folder.jsonl(FILE, &[json!({"type": "system", "sessionId": ID}), line]);
    let found = find(folder.path(), None).unwrap();
    assert_eq!((found.sources.len(), found.passed_over.len()), (0, 0));
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
    let new = stored(&whole, &stored(&half, &[])).split_off(2);
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].content, "c");
    assert_eq!(new[0].message_key.as_ref().unwrap().as_str(), "msg_1#2");
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
