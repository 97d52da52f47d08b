use serde_json::json;

use crate::support::{ODD_IDS, Sandbox, is_time, names};

#[test]
fn a_task_is_listed_as_it_was_added() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.run(["task", "add", "parser"]).ok(),
        "task parser is pending\n"
    );
    let mut added = sandbox
        .run([
            "task",
            "add",
            "tests",
            "--json",
            "--name",
            "Test it",
            "--prompt",
            "- all\n- of it",
            "--agent-role",
            "tester",
            "--writes",
            "a b.rs",
            "--writes",
            "c,d.rs",
            "--depends-on",
            "parser",
            "--failure-mode",
            "soft",
            "--status",
            "eligible",
        ])
        .one();
    let listed = sandbox.run(["task", "list", "--json"]).json();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["id"], "parser");
    assert_eq!(listed[0]["name"], "parser", "the id stands in for a name");
    assert_eq!(listed[1], added);
    for time in ["created_at", "updated_at"] {
        let time = added.as_object_mut().unwrap().remove(time).unwrap();
        assert!(is_time(&time), "{time}");
    }
    let expected = json!({
        "id": "tests", "name": "Test it", "agent_role": "tester", "prompt": "- all\n- of it",
        "writes_files": ["a b.rs", "c,d.rs"], "status": "eligible", "failure_mode": "soft",
        "not_before": null, "metadata": null, "result": null, "error": null, "depends_on": ["parser"],
    });
    assert_eq!(added, expected);
}

#[test]
fn adding_an_existing_task_changes_only_the_given_options() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "before"]).ok();
    let add = ["task", "add", "t", "--prompt", "old", "--writes", "a.rs"];
    let more = ["--depends-on", "before", "--failure-mode", "soft"];
    sandbox.run(add.iter().chain(&more)).ok();
    sandbox.run(["task", "claim", "t"]).ok();
    let task = sandbox
        .run(["task", "add", "t", "--name", "New", "--json"])
        .one();
    assert_eq!(task["name"], "New");
    assert_eq!(task["prompt"], "old");
    assert_eq!(task["writes_files"], json!(["a.rs"]));
    assert_eq!(task["depends_on"], json!(["before"]));
    assert_eq!(task["failure_mode"], "soft");
    assert_eq!(task["status"], "running");
}

#[test]
fn columns_with_wide_characters_are_aligned() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "a", "--name", "任務"]).ok();
    sandbox
        .run([
            "task",
            "add",
            "long-id",
            "--name",
            "two\nlines",
            "--depends-on",
            "a",
        ])
        .ok();
    let table = sandbox.run(["task", "list"]).ok();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("TASK     STATUS   NAME       UPDATED "),
        "{table}"
    );
    assert!(
        lines[1].starts_with("a        pending  任務       2"),
        "{table}"
    );
    assert!(
        lines[2].starts_with("long-id  pending  two␊lines  2"),
        "{table}"
    );
    assert!(lines[2].ends_with("Z  a"), "{table}");
    assert!(!table.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn an_empty_list_prints_a_note_but_no_json() {
    let sandbox = Sandbox::new();
    drop(sandbox.repo());
    for (list, words) in [("list", "no tasks\n"), ("ready", "no task can start\n")] {
        let run = sandbox.run(["task", list]);
        assert_eq!((run.code, &*run.stdout, &*run.stderr), (Some(0), "", words));
        assert_eq!(sandbox.run(["task", list, "--json"]).ok(), "");
    }
}

#[test]
fn ready_tasks_have_no_open_dependencies() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "a"]).ok();
    sandbox.run(["task", "add", "b", "--depends-on", "a"]).ok();
    let ready = |sandbox: &Sandbox| sandbox.run(["--json", "task", "ready"]).one()["id"].clone();
    assert_eq!(ready(&sandbox), "a");
    assert!(!sandbox.run(["task", "ready"]).ok().contains("\nb "));
    sandbox.run(["task", "status", "a", "completed"]).ok();
    assert_eq!(ready(&sandbox), "b");
}

#[test]
fn a_status_replaces_result_and_error() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let said = sandbox
        .run(["task", "status", "t", "failed", "--error", "-1"])
        .ok();
    assert_eq!(said, "task t is failed\n");
    assert!(
        sandbox
            .run(["task", "show", "t"])
            .ok()
            .ends_with("\nerror\n-1\n")
    );
    let task = sandbox
        .run([
            "task",
            "status",
            "t",
            "completed",
            "--result",
            "ok",
            "--json",
        ])
        .one();
    assert_eq!(
        (&task["status"], &task["result"]),
        (&json!("completed"), &json!("ok"))
    );
    assert!(task["error"].is_null(), "cleared");
}

#[test]
fn a_task_waits_for_a_file_that_is_being_written() {
    let sandbox = Sandbox::new();
    for id in ["a", "b"] {
        let task = ["task", "add", id, "--name", "T", "--writes", "x.rs"];
        sandbox.run(task).ok();
    }
    sandbox.run(["task", "claim", "a"]).ok();
    assert_eq!(sandbox.run(["task", "ready", "--json"]).stdout, "");
    let words = "error: task `b` can't be claimed: a running task writes one of its files\n";
    assert_eq!(sandbox.run(["task", "claim", "b"]).failed(1), words);
}

#[test]
fn a_task_is_claimed_once() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let claimed = sandbox.run(["task", "claim", "t", "--json"]).one();
    assert_eq!(claimed, json!({"task_id": "t", "claimed": true}));

    let second = sandbox.run(["task", "claim", "t", "--json"]);
    assert_eq!(second.stdout, "{\"task_id\":\"t\",\"claimed\":false}\n");
    let words = "error: task `t` can't be claimed: it is running already\n";
    assert_eq!(second.failed(1), words);

    let third = sandbox.run(["task", "claim", "t"]);
    assert_eq!(third.stdout, "");
    assert_eq!(third.failed(1), words);

    sandbox.run(["task", "status", "t", "completed"]).ok();
    let ended = sandbox.run(["task", "claim", "t"]).failed(1);
    let words = "error: task `t` can't be claimed: it is completed already\n";
    assert_eq!(ended, words);
}

#[test]
fn requeue_prints_the_running_tasks() {
    let sandbox = Sandbox::new();
    for id in ["a", "b", "c"] {
        sandbox.run(["task", "add", id]).ok();
    }
    sandbox.run(["task", "claim", "a"]).ok();
    sandbox.run(["task", "claim", "c"]).ok();
    assert_eq!(
        sandbox.run(["task", "requeue", "--json"]).json(),
        [json!({"task_id": "a"}), json!({"task_id": "c"})]
    );
    let none = sandbox.run(["task", "requeue"]);
    assert_eq!(
        (&*none.stdout, &*none.stderr),
        ("", "no task was running\n")
    );
    sandbox.run(["task", "claim", "c"]).ok();
    assert_eq!(sandbox.run(["task", "requeue"]).ok(), "task c is pending\n");
}

#[test]
fn show_counts_turns_and_sessions_without_their_texts() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t", "--prompt", "Do it."]).ok();
    for (role, text) in [("user", "secret"), ("user", "secret"), ("tool", "secret")] {
        sandbox.run(["append", "t", "--role", role, text]).ok();
    }
    for id in ["s1", "s2"] {
        sandbox
            .run([
                "session",
                "set",
                "t",
                "--backend",
                "codex",
                "--session-id",
                id,
            ])
            .ok();
    }
    let shown = sandbox.run(["task", "show", "t", "--json"]);
    assert!(!shown.stdout.contains("secret"));
    let shown = shown.one();
    assert_eq!(shown["id"], "t");
    assert_eq!(
        shown["turns"],
        json!({"user": 2, "assistant": 0, "system": 0, "tool": 1})
    );
    assert_eq!(
        shown["session"],
        sandbox.run(["session", "get", "t", "--json"]).one()
    );
    let log = sandbox.run(["session", "log", "t", "--json"]).json();
    assert_eq!(shown["revisions"], json!(log));
    assert_eq!(names(&shown).len(), 14 + 3);

    let text = sandbox.run(["task", "show", "t"]).ok();
    assert!(
        text.contains("\nturns         2 user, 0 assistant, 0 system, 1 tool\n"),
        "{text}"
    );
    assert!(text.contains("\nsession       s2 of codex\n"), "{text}");
    assert!(text.ends_with("\n\nprompt\nDo it.\n"), "{text}");
    assert!(!text.contains("secret"));
}

#[test]
fn rm_prints_the_deleted_counts() {
    let sandbox = Sandbox::new();
    for id in ["a", "b"] {
        sandbox.run(["task", "add", id]).ok();
        sandbox.run(["append", id, "--role", "user", "hi"]).ok();
        sandbox
            .run([
                "session",
                "set",
                id,
                "--backend",
                "goose",
                "--session-id",
                "1",
            ])
            .ok();
    }
    let gone = sandbox.run(["task", "rm", "a"]).ok();
    assert_eq!(gone, "deleted task a (turns: 1, session revisions: 1)\n");
    let gone = sandbox.run(["task", "rm", "b", "--json"]).one();
    assert_eq!(
        gone,
        json!({"task_id": "b", "deleted": true, "turns": 1, "revisions": 1, "erased": false})
    );

    let none = sandbox.run(["task", "rm", "b", "--json"]);
    assert!(none.stdout.contains("\"deleted\":false"), "{none:?}");
    assert!(
        none.failed(1)
            .starts_with("error: there is no task `b`\nhint: ")
    );
}

#[test]
fn any_text_is_a_task_id() {
    let sandbox = Sandbox::new();
    for id in ODD_IDS {
        sandbox.run(["task", "add", "--", id]).ok();
        sandbox
            .run(["append", "--role", "user", "--", id, "hi"])
            .ok();
        assert_eq!(
            sandbox.run(["history", "--json", "--", id]).one()["task_id"],
            id
        );
        assert_eq!(
            sandbox.run(["task", "show", "--json", "--", id]).one()["id"],
            id
        );
        sandbox.run(["task", "claim", "--", id]).ok();
    }
    assert_eq!(
        sandbox.run(["task", "list", "--json"]).json().len(),
        ODD_IDS.len()
    );
    for id in ODD_IDS {
        sandbox.run(["task", "rm", "--", id]).ok();
    }
    assert_eq!(sandbox.run(["task", "list", "--json"]).ok(), "");
}

#[test]
fn impossible_dependencies_are_refused() {
    let sandbox = Sandbox::new();
    let missing = sandbox
        .run(["task", "add", "a", "--depends-on", "b"])
        .failed(1);
    assert!(
        missing.contains("`a` can't depend on `b`, which does not exist"),
        "{missing}"
    );
    sandbox.run(["task", "add", "a"]).ok();
    sandbox.run(["task", "add", "b", "--depends-on", "a"]).ok();
    let circle = sandbox
        .run(["task", "add", "a", "--depends-on", "b"])
        .failed(1);
    assert!(circle.contains("form a circle: a -> b -> a"), "{circle}");
}
