use serde_json::json;

use crate::support::{ODD_IDS, Sandbox, in_words, is_time, names};

fn bind(sandbox: &Sandbox, task: &str, backend: &str, id: &str) {
    sandbox
        .run([
            "session",
            "set",
            task,
            "--backend",
            backend,
            "--session-id",
            id,
        ])
        .ok();
}

#[test]
fn a_binding_is_shown_as_it_was_set() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let set = sandbox
        .run([
            "session",
            "set",
            "t",
            "--backend",
            "claude",
            "--session-id",
            "-id",
            "--working-dir",
            "-a b",
            "--config-dir",
            "-c d",
            "--json",
        ])
        .one();
    assert_eq!(set["task_id"], "t");
    assert_eq!(set["backend"], "claude");
    assert_eq!(set["session_id"], "-id");
    assert_eq!(set["working_dir"], "-a b");
    assert_eq!(set["config_dir"], "-c d");
    assert!(
        is_time(&set["created_at"]) && is_time(&set["updated_at"]),
        "{set}"
    );
    assert_eq!(names(&set).len(), 8);
    assert_eq!(sandbox.run(["session", "get", "t", "--json"]).one(), set);
    assert_eq!(sandbox.run(["session", "list", "--json"]).one(), set);
    let text = sandbox.run(["session", "get", "t"]).ok();
    assert!(
        text.starts_with("task      t\nbackend   claude\nsession   -id\nfolder    -a b\nconfig    -c d\nmetadata  -\n"),
        "{text}"
    );
}

#[test]
fn any_text_is_a_session_id() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    for id in ODD_IDS {
        bind(&sandbox, "t", "my agent", id);
        let session = sandbox.run(["session", "get", "t", "--json"]).one();
        assert_eq!(
            (&session["session_id"], &session["backend"]),
            (&json!(id), &json!("my agent"))
        );
        sandbox.run(["session", "retire", "--", "t", id]).ok();
    }
    assert_eq!(
        sandbox.run(["session", "log", "t", "--json"]).json().len(),
        ODD_IDS.len()
    );
}

#[test]
fn a_session_of_another_agent_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    bind(&sandbox, "t", "codex", "s");
    sandbox
        .run(["session", "get", "t", "--backend", "codex"])
        .ok();
    let refused = sandbox
        .run(["session", "get", "t", "--backend", "goose"])
        .failed(4);
    assert!(
        refused.contains("bound to a session of codex, not of goose"),
        "{refused}"
    );
}

#[test]
fn a_task_without_session_differs_from_a_missing_task() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    for args in [
        &["session", "get"][..],
        &["resume"],
        &["session", "get", "--backend", "goose"],
    ] {
        let without = sandbox.run(args.iter().chain(&["t"])).failed(3);
        assert!(
            without.contains("task `t` is bound to no session\nhint: "),
            "{without}"
        );
        let missing = sandbox.run(args.iter().chain(&["x"])).failed(3);
        assert!(
            missing.contains("there is no task `x`\nhint: "),
            "{missing}"
        );
    }
    let none = sandbox.run(["session", "log", "t"]);
    assert_eq!(
        (none.code, &*none.stdout, &*none.stderr),
        (Some(0), "", "no sessions\n")
    );
    assert!(
        sandbox
            .run(["session", "log", "x"])
            .failed(3)
            .contains("there is no task `x`")
    );
    let none = sandbox.run(["session", "list"]);
    assert_eq!(
        (none.code, &*none.stdout, &*none.stderr),
        (Some(0), "", "no sessions\n")
    );
}

#[test]
fn the_log_keeps_every_binding() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    bind(&sandbox, "t", "claude", "one");
    bind(&sandbox, "t", "claude", "two");
    let retire = ["session", "retire", "t", "two", "--reason", "- gone"];
    assert_eq!(sandbox.run(retire).ok(), "retired session two of task t\n");
    let log = sandbox.run(["session", "log", "t", "--json"]).json();
    assert_eq!(log.len(), 2);
    assert_eq!(
        names(&log[0]),
        [
            "backend",
            "config_dir",
            "first_seq",
            "metadata",
            "retired_at",
            "retired_reason",
            "revision",
            "saved_at",
            "session_id",
            "task_id",
            "working_dir"
        ]
    );
    assert_eq!(
        (&log[0]["revision"], &log[0]["session_id"]),
        (&json!(1), &json!("one"))
    );
    assert_eq!(log[0]["retired_reason"], "replaced");
    assert_eq!(log[1]["retired_reason"], "- gone");
    assert!(is_time(&log[1]["retired_at"]) && is_time(&log[1]["saved_at"]));
    let table = sandbox.run(["session", "log", "t"]).ok();
    assert!(
        table.starts_with("REVISION  BACKEND  SESSION  FOLDER  FIRST TURN  "),
        "{table}"
    );
    assert!(
        table.contains("\n       2  claude   two      -                1  "),
        "{table}"
    );
}

#[test]
fn only_the_current_session_can_be_retired() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    bind(&sandbox, "t", "claude", "live");
    let other = sandbox.run(["session", "retire", "t", "dead", "--json"]);
    assert_eq!(
        other.stdout,
        "{\"task_id\":\"t\",\"session_id\":\"dead\",\"retired\":false}\n"
    );
    assert_eq!(
        in_words(&other.failed(4)),
        "error: task `t` is bound to session `live` of claude, not to `dead`\n"
    );
    let retired = sandbox
        .run(["session", "retire", "t", "live", "--json"])
        .one();
    assert_eq!(
        retired,
        json!({"task_id": "t", "session_id": "live", "retired": true})
    );
    let again = sandbox.run(["session", "retire", "t", "live"]).failed(3);
    assert!(again.contains("is bound to no session"), "{again}");
}
