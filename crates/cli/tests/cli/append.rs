use serde_json::json;

use crate::support::Sandbox;

#[test]
fn text_is_appended_and_its_seq_printed() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    assert_eq!(
        sandbox.run(["append", "t", "--role", "user", "one"]).ok(),
        "1\n"
    );
    let second = sandbox
        .run(["append", "t", "--role", "assistant", "--json", "--", "-two"])
        .one();
    assert_eq!(second, json!({"task_id": "t", "seq": 2}));
    let turns = sandbox.repo().get_history(&"t".parse().unwrap()).unwrap();
    assert_eq!(turns[0].content, "one");
    assert_eq!(
        (turns[1].role.as_str(), &*turns[1].content),
        ("assistant", "-two")
    );
}

#[test]
fn standard_input_is_stored_unchanged() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let text = "\u{feff}a\0b\r\n\x1b[31m ü 任\n\n";
    let dash = sandbox.run_with_stdin(&["append", "t", "--role", "tool", "-"], text.as_bytes());
    assert_eq!(dash.ok(), "1\n");
    let missing = sandbox.run_with_stdin(&["append", "t", "--role", "tool"], text.as_bytes());
    assert_eq!(missing.ok(), "2\n");
    let nothing = sandbox.run_with_stdin(&["append", "t", "--role", "tool"], b"");
    assert_eq!(nothing.ok(), "3\n");
    let turns = sandbox.run(["history", "t", "--json"]).json();
    assert_eq!(turns[0]["content"], text);
    assert_eq!(turns[1]["content"], text);
    assert_eq!(turns[2]["content"], "");
}

#[test]
fn standard_input_that_is_not_text_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let refused = sandbox
        .run_with_stdin(&["append", "t", "--role", "user"], b"a\xffb")
        .failed(1);
    assert_eq!(refused, "error: standard input is not UTF-8 text\n");
    assert_eq!(sandbox.run(["history", "t", "--json"]).ok(), "");
}

#[test]
fn a_repeated_append_with_a_key_adds_no_turn() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let append = |text| sandbox.run(["append", "t", "--role", "user", "--key", "-k", text]);
    assert_eq!(append("hi").ok(), "1\n");
    assert_eq!(append("hi").ok(), "1\n");
    let conflict = append("something else").failed(4);
    assert!(
        conflict.contains("the message key `-k` belongs to turn 1"),
        "{conflict}"
    );
    assert!(conflict.contains("\nhint: "), "{conflict}");
    assert_eq!(
        sandbox.run(["history", "t", "--json"]).one()["message_key"],
        "-k"
    );
}

#[test]
fn a_missing_task_is_an_error_with_a_hint() {
    let sandbox = Sandbox::new();
    drop(sandbox.repo());
    let error = sandbox
        .run(["append", "t", "--role", "user", "hi"])
        .failed(3);
    assert!(
        error.starts_with("error: save_messages: there is no task `t`\n"),
        "{error}"
    );
    assert!(error.contains("hint: `turnkeep list`"), "{error}");
}
