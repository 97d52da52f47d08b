//! Ids that are written in part.

use serde_json::Value;
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, NewTask, RecordingName, Role, SessionId, TaskId,
};

use crate::support::{Sandbox, in_words};

/// Stores tasks with one turn, bound to sessions.
fn sandbox(tasks: &[(&str, Option<&str>)]) -> Sandbox {
    let sandbox = Sandbox::new();
    let repo = sandbox.repo();
    for (id, session) in tasks {
        let task = TaskId::new(*id).unwrap();
        repo.save_task(&NewTask::new(task.clone(), format!("About {id}")))
            .unwrap();
        repo.save_messages(&task, &[NewMessage::new(Role::User, format!("I am {id}."))])
            .unwrap();
        if let Some(session) = session {
            let session = SessionId::new(*session).unwrap();
            let binding = NewSession::new(BackendType::Claude, session);
            repo.save_session(&task, &binding).unwrap();
        }
    }
    sandbox
}

#[test]
fn the_beginning_of_a_task_or_session_id_is_enough() {
    let sandbox = sandbox(&[
        ("claude:0b2f1c3d-aa", Some("0b2f1c3d-aa")),
        (
            "claude:0b99ffff-93d8-4f0a-8a6e-2f5b9d3c1e70",
            Some("0b99ffff-93d8-4f0a-8a6e-2f5b9d3c1e70"),
        ),
        ("login", Some("77777777-cc")),
        ("login-tests", None),
    ]);
    for (given, found) in [
        ("0b2", "claude:0b2f1c3d-aa"),
        ("claude:0b2", "claude:0b2f1c3d-aa"),
        (
            "0b99ffff-93d8-4f0a-8a6e-2f5b9d3c1e70",
            "claude:0b99ffff-93d8-4f0a-8a6e-2f5b9d3c1e70",
        ),
        ("7", "login"),
        ("login", "login"),
        ("login-", "login-tests"),
    ] {
        for command in ["show", "history"] {
            let shown = sandbox.run([command, given]).ok();
            assert!(
                shown.contains(&format!("I am {found}.")),
                "{given}: {shown}"
            );
        }
    }
    let resume = sandbox.run(["resume", "0b2", "--json"]);
    assert!(
        resume.stdout.contains("\"task_id\":\"claude:0b2f1c3d-aa\""),
        "{resume:?}"
    );
    let restore = sandbox
        .run(["restore", "0b9", "--dry-run", "--json", "--folder", "/x"])
        .one();
    assert_eq!(
        restore["task_id"],
        "claude:0b99ffff-93d8-4f0a-8a6e-2f5b9d3c1e70"
    );
}

#[test]
fn an_ambiguous_id_lists_the_candidates() {
    let sandbox = sandbox(&[
        ("claude:0b2f", Some("0b2f")),
        ("claude:0b99", Some("0b99")),
        ("0b-task", None),
    ]);
    for command in ["show", "history", "resume", "restore"] {
        let error = sandbox.run([command, "0b"]).failed(4);
        assert_eq!(
            error,
            "0b-task  About 0b-task\nclaude:0b2f  About claude:0b2f\nclaude:0b99  About claude:0b99\n\
             error: `0b` is the beginning of 3 ids\n",
        );
    }
}

#[test]
fn an_ambiguous_id_changes_no_task() {
    let sandbox = sandbox(&[("0b-task", None), ("claude:0b99", Some("0b99"))]);
    for args in [
        &["append", "0b", "--role", "user", "x"][..],
        &["task", "status", "0b", "failed"],
        &["task", "rm", "0b"],
        &["rm", "0b", "--yes"],
    ] {
        let error = sandbox.run(args).failed(4);
        assert!(error.ends_with("is the beginning of 2 ids\n"), "{error}");
        let error = in_words(&sandbox.run(args.iter().chain(&["--json"])).failed(4));
        assert!(
            error.ends_with("2 ids: `0b-task`, `claude:0b99`\n"),
            "{error}"
        );
    }
    let rows = sandbox.run(["list", "--json"]).json();
    assert!(
        rows.len() == 2
            && rows
                .iter()
                .all(|row| row["turns"] == 1 && row["status"] == "pending")
    );
}

#[test]
fn a_whole_session_id_means_its_task_though_others_begin_with_it() {
    let sandbox = sandbox(&[
        ("goose:20261001_1", Some("20261001_1")),
        ("goose:20261001_12", Some("20261001_12")),
    ]);
    let shown = sandbox.run(["history", "20261001_1"]).ok();
    assert!(shown.contains("I am goose:20261001_1."), "{shown}");
    let error = sandbox.run(["history", "20261001_"]).failed(4);
    assert!(error.ends_with("is the beginning of 2 ids\n"), "{error}");
}

#[test]
fn many_candidates_are_cut() {
    let ids: Vec<_> = (10..40).map(|number| format!("t{number}")).collect();
    let tasks: Vec<_> = ids.iter().map(|id| (id.as_str(), None)).collect();
    let error = sandbox(&tasks).run(["show", "t"]).failed(4);
    assert_eq!(error.lines().count(), 12, "{error}");
    assert!(error.contains("\nt19  About t19\nand 20 more\n"), "{error}");
}

#[test]
fn an_unknown_id_is_reported_as_it_is() {
    let error = sandbox(&[("t", None)]).run(["show", "u"]).failed(3);
    assert!(
        error.starts_with("error: get_task: there is no task `u`\n"),
        "{error}"
    );
}

#[test]
fn commands_that_change_a_task_take_a_short_id_and_name_it() {
    let sandbox = sandbox(&[("claude:0b2f1c3d", Some("0b2f1c3d")), ("other", None)]);
    let name = RecordingName::new("projects/x/0b2f1c3d.jsonl").unwrap();
    let task = TaskId::new("claude:0b2f1c3d").unwrap();
    let keep = || {
        let repo = sandbox.repo();
        repo.save_recording(&task, &name, 0, b"{}").unwrap();
    };
    keep();
    let named = "claude:0b2f1c3d  About claude:0b2f1c3d\n";
    for (args, field) in [
        (&["task", "claim", "0b2"][..], "task_id"),
        (&["task", "status", "0b2", "completed"], "id"),
        (&["append", "0b2", "--role", "user", "x"], "task_id"),
        (
            &[
                "session",
                "set",
                "0b2",
                "--backend",
                "claude",
                "--session-id",
                "0b2f1c3d",
            ],
            "task_id",
        ),
        (&["recording", "rm", "0b2"], "task_id"),
        (&["session", "retire", "0b2", "0b2f1c3d"], "task_id"),
        (&["task", "rm", "claude:0b"], "task_id"),
        (&["removed", "lift", "0b2"], "task_id"),
    ] {
        let run = sandbox.run(args.iter().chain(&["--json"]));
        assert_eq!(run.one()[field], task.as_str(), "{args:?}");
    }
    let sandbox = self::sandbox(&[("claude:0b2f1c3d", Some("0b2f1c3d")), ("other", None)]);
    for args in [
        &["append", "0b2", "--role", "user", "x"][..],
        &["task", "status", "0b2", "failed"],
        &["rm", "0b2", "--yes"],
    ] {
        let run = sandbox.run(args);
        assert_eq!((run.code, &*run.stderr), (Some(0), named), "{args:?}");
    }
    let lifted = sandbox.run(["removed", "lift", "0b"]).ok();
    assert!(lifted.contains("task claude:0b2f1c3d back"), "{lifted}");
    assert_eq!(sandbox.run(["list", "--json"]).one()["id"], "other");
}

#[test]
fn a_command_that_makes_a_task_takes_its_whole_id() {
    let sandbox = sandbox(&[("login-tests", None)]);
    let made = sandbox.run(["task", "add", "login", "--json"]).one();
    assert_eq!(made["id"], "login");
    // A whole id means its task, also if others begin with it.
    let run = sandbox.run(["task", "rm", "login", "--json"]).one();
    assert_eq!(run["task_id"], "login");
    sandbox
        .run(["task", "add", "b", "--depends-on", "login"])
        .failed(3);
    sandbox.run(["task", "rm", "login", "--secure"]).ok();
    assert_eq!(sandbox.run(["list", "--json"]).one()["id"], "login-tests");
}

#[test]
fn an_id_that_was_removed_means_no_other_task() {
    let sandbox = sandbox(&[("login", Some("s")), ("login-tests", None)]);
    sandbox.run(["task", "rm", "login"]).ok();
    sandbox.run(["task", "rm", "login"]).failed(3);
    sandbox.run(["rm", "login", "--yes"]).failed(3);
    assert_eq!(sandbox.run(["list", "--json"]).one()["id"], "login-tests");
}

#[test]
fn all_commands_that_read_a_task_take_a_short_id() {
    let sandbox = sandbox(&[("claude:0b2f1c3d", Some("0b2f1c3d")), ("other", None)]);
    let name = RecordingName::new("projects/x/0b2f1c3d.jsonl").unwrap();
    let task = TaskId::new("claude:0b2f1c3d").unwrap();
    sandbox
        .repo()
        .save_recording(&task, &name, 0, b"{}")
        .unwrap();
    for args in [
        &["task", "show", "0b2"][..],
        &["session", "get", "0b2"],
        &["session", "log", "0b2"],
        &["recording", "list", "0b2"],
        &["search", "am", "--task", "0b2"],
    ] {
        let shown = sandbox.run(args.iter().chain(&["--json"])).json();
        let is_of = |row: &Value| row["id"] == task.as_str() || row["task_id"] == task.as_str();
        assert!(
            !shown.is_empty() && shown.iter().all(is_of),
            "{args:?}: {shown:?}"
        );
    }
    let bytes = sandbox.run(["recording", "cat", "0b2", name.as_str()]).ok();
    assert_eq!(bytes, "{}");
}
