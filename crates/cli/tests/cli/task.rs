use serde_json::json;

use turnkeep_repo::{Metadata, NewTask, TaskId};

use crate::support::{ODD_IDS, Sandbox, in_words, is_time, names};

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
    let listed = sandbox
        .run(["task", "list", "--json", "--sort", "created"])
        .json();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["id"], "parser");
    assert_eq!(listed[0]["name"], "parser", "the id stands in for a name");
    assert_eq!(
        listed[1],
        json!({
            "id": "tests", "name": "Test it", "status": "eligible", "agent_role": "tester",
            "backend": null, "session_id": null, "working_dir": null, "worker": null, "turns": 0,
            "created_at": added["created_at"], "last_active_at": added["created_at"],
        })
    );
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
        .run(["task", "add", "long-id", "--name", "two\nlines"])
        .ok();
    sandbox.run(["append", "a", "--role", "user", "said"]).ok();
    let table = sandbox.run(["task", "list", "--sort", "id"]).ok();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("ID       TITLE      AGENT  FOLDER  TURNS  ACTIVE "),
        "{table}"
    );
    assert!(
        lines[1].starts_with("a        任務       -      -           1  2")
            && lines[1].ends_with("  pending"),
        "{table}"
    );
    assert!(
        lines[2].starts_with("long-id  two␊lines  -      -           0  2"),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn a_list_is_filtered_sorted_and_limited() {
    let sandbox = Sandbox::new();
    for (id, role, status) in [
        ("a", "coder", "pending"),
        ("b", "tester", "completed"),
        ("c", "coder", "failed"),
    ] {
        let add = ["task", "add", id, "--agent-role", role, "--status", status];
        sandbox.run(add).ok();
    }
    let gpu = Metadata::new(r#"{"pool": "gpu=1"}"#).unwrap();
    let task = NewTask::new(TaskId::new("d").unwrap(), "D").metadata(gpu);
    sandbox.repo().save_task(&task).unwrap();
    let set = [
        "session",
        "set",
        "a",
        "--backend",
        "goose",
        "--session-id",
        "s",
    ];
    let set = set.into_iter().chain(["--working-dir", "/w"]);
    sandbox.run(set).ok();
    sandbox.run(["append", "b", "--role", "user", "said"]).ok();
    let list = |options: &[&str]| -> String {
        let args = ["task", "list", "--json"].iter().chain(options);
        let tasks = sandbox.run(args).json();
        tasks.iter().map(|it| it["id"].as_str().unwrap()).collect()
    };
    assert_eq!(list(&[]), "bdca");
    assert_eq!(list(&["--limit", "2"]), "bd");
    assert_eq!(list(&["--limit", "0"]), "");
    assert_eq!(list(&["--sort", "created"]), "abcd");
    assert_eq!(list(&["--sort", "id", "--limit", "3"]), "abc");
    assert_eq!(list(&["--status", "failed", "--status", "pending"]), "dca");
    assert_eq!(list(&["--agent-role", "coder", "--sort", "id"]), "ac");
    assert_eq!(list(&["--backend", "goose"]), "a");
    assert_eq!(list(&["--working-dir", "/w"]), "a");
    assert_eq!(list(&["--metadata", "pool=gpu=1"]), "d");
    assert_eq!(list(&["--metadata", "pool=gpu"]), "");
    assert_eq!(list(&["--active-since", "1h", "--sort", "id"]), "abcd");
    assert_eq!(list(&["--active-since", "0s"]), "");
    let one = sandbox
        .run(["task", "list", "--json", "--limit", "1"])
        .one();
    assert_eq!((&one["id"], &one["turns"]), (&json!("b"), &json!(1)));
    let error = sandbox
        .run(["task", "list", "--metadata", "secret"])
        .failed(2);
    assert!(error.contains("`=` is missing"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(
        list(&["--active-since", "9999999w", "--sort", "id"]),
        "abcd"
    );
}

/// More tasks than a page: none is left out, and the header is printed once.
#[test]
fn a_long_list_is_printed_page_by_page() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = (0..1_234).map(|number| format!("t{number:04}")).collect();
    let plan = ids
        .iter()
        .map(|id| NewTask::new(TaskId::new(id.as_str()).unwrap(), "T"));
    sandbox
        .repo()
        .save_tasks(&plan.collect::<Vec<_>>())
        .unwrap();
    let table = sandbox.run(["task", "list", "--sort", "id"]).ok();
    let first = table.lines().map(|line| line.split_once(' ').unwrap().0);
    let expected = ["ID"].into_iter().chain(ids.iter().map(String::as_str));
    assert!(first.eq(expected), "{table}");
    let tasks = sandbox
        .run(["task", "list", "--json", "--limit", "1100"])
        .json();
    assert_eq!(tasks.len(), 1_100);
}

#[test]
fn an_empty_list_prints_a_note_but_no_json() {
    let sandbox = Sandbox::new();
    drop(sandbox.repo());
    for (list, words) in [
        ("list", "no sessions or tasks\n"),
        ("ready", "no task can start\n"),
    ] {
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
    assert_eq!(sandbox.run(["task", "claim", "b"]).failed(4), words);
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
    assert_eq!(in_words(&second.failed(4)), words);

    let third = sandbox.run(["task", "claim", "t"]);
    assert_eq!(third.stdout, "");
    assert_eq!(third.failed(4), words);

    sandbox.run(["task", "status", "t", "completed"]).ok();
    let ended = sandbox.run(["task", "claim", "t"]).failed(4);
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
    assert!(in_words(&none.failed(3)).starts_with("error: there is no task `b`\nhint: "));
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
        .failed(3);
    assert!(
        missing.contains("`a` can't depend on `b`, which does not exist"),
        "{missing}"
    );
    sandbox.run(["task", "add", "a"]).ok();
    sandbox.run(["task", "add", "b", "--depends-on", "a"]).ok();
    let circle = sandbox
        .run(["task", "add", "a", "--depends-on", "b"])
        .failed(4);
    assert!(circle.contains("form a circle: a -> b -> a"), "{circle}");
}
