//! Ids that are written in part.

use serde_json::Value;
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, NewTask, RecordingName, Role, SessionId, TaskId,
};

use crate::support::Sandbox;

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
    for args in [
        &["show", "0b"][..],
        &["history", "0b"],
        &["resume", "0b"],
        &["restore", "0b", "--dry-run"],
    ] {
        let error = sandbox.run(args).failed(4);
        assert_eq!(
            error,
            "0b-task  About 0b-task\nclaude:0b2f  About claude:0b2f\nclaude:0b99  About claude:0b99\n\
             error: `0b` is the beginning of 3 ids\n",
        );
    }
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

/// Commands that change the task `claude:0b2f1c3d`, each with the id as it is given.
fn changes(id: &str) -> Vec<Vec<&str>> {
    let bind = ["--backend", "claude", "--session-id", "0b2f1c3d"];
    vec![
        vec!["task", "claim", id],
        vec!["append", id, "--role", "user", "x"],
        [&["session", "set", id][..], &bind].concat(),
        vec!["recording", "rm", id],
        vec!["task", "status", id, "completed"],
        vec!["session", "retire", id, "0b2f1c3d"],
    ]
}

/// Stores the task `claude:0b2f1c3d` and another one.
fn two_tasks() -> Sandbox {
    sandbox(&[("claude:0b2f1c3d", Some("0b2f1c3d")), ("other", None)])
}

#[test]
fn commands_that_change_a_task_take_a_whole_task_or_session_id() {
    for id in ["claude:0b2f1c3d", "0b2f1c3d"] {
        let sandbox = two_tasks();
        for args in changes(id) {
            let run = sandbox.run(args.iter().chain(&["--json"]));
            let changed: Value = serde_json::from_str(run.stdout.trim_end()).unwrap();
            let task = changed.get("task_id").unwrap_or(&changed["id"]);
            assert_eq!(task, "claude:0b2f1c3d", "{run:?}");
            assert_eq!(run.code, Some(0), "{run:?}");
        }
        sandbox.run(&changes("claude:0b2f1c3d")[2]).ok();
        sandbox.run(["rm", id, "--yes"]).ok();
        sandbox.run(["removed", "lift", id]).ok();
        assert_eq!(sandbox.run(["list", "--json"]).one()["id"], "other");
    }
}

#[test]
fn without_a_terminal_a_short_id_changes_no_task() {
    let sandbox = two_tasks();
    let changed = || {
        let list = sandbox.run(["list", "--json"]).ok();
        list + &sandbox.run(["session", "list", "--json"]).ok()
    };
    let before = changed();
    let others = [
        vec!["restore", "0b2", "--folder", "/x"],
        vec!["resume", "0b2", "--exec"],
        vec!["resume", "0b2", "--restore"],
        vec!["rm", "0b2", "--yes"],
    ];
    for args in changes("0b2").into_iter().chain(others) {
        let error = sandbox.run(&args).failed(3);
        assert!(
            error.starts_with("error: `0b2` is not a whole id"),
            "{error}"
        );
        assert!(error.contains("hint: commands that change"), "{error}");
        let error = sandbox.run(args.iter().chain(&["--json"])).failed(3);
        let error: Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["error"]["kind"], "task_not_found", "{args:?}");
    }
    for secure in [&[][..], &["--secure"]] {
        for id in ["claude:0b2", "0b2f1c3d"] {
            sandbox.run([&["task", "rm", id], secure].concat());
        }
    }
    assert_eq!(changed(), before);
    assert!(!sandbox.path(".claude").exists());
    sandbox.run(["rm", "0b2f1c3d", "--yes"]).ok();
    sandbox.run(["removed", "lift", "0b2"]).failed(3);
    assert_eq!(sandbox.run(["removed", "--json"]).json().len(), 1);
}

#[test]
fn the_id_of_a_task_that_is_gone_changes_no_other() {
    let sandbox = sandbox(&[("step-10", None)]);
    for args in [
        &["append", "step-1", "--role", "user", "x"][..],
        &["task", "claim", "step-1"],
        &["task", "status", "step-1", "completed"],
    ] {
        sandbox.run(args).failed(3);
    }
    let left = sandbox.run(["list", "--json"]).one();
    assert_eq!(
        (&left["turns"], &left["status"]),
        (&1.into(), &"pending".into())
    );
}

#[cfg(unix)]
mod on_a_terminal {
    use super::*;
    use crate::support::run_on_terminal;

    #[test]
    fn commands_that_change_a_task_take_a_short_id_and_name_it() {
        let sandbox = two_tasks();
        let named = "claude:0b2f1c3d  About claude:0b2f1c3d\n";
        for args in changes("0b2") {
            let run = run_on_terminal(sandbox.turnkeep(&args), "");
            assert_eq!(run.code, Some(0), "{run:?}");
            assert!(run.stdout.starts_with(named), "{run:?}");
            // With `--json` a program reads the output.
            let json = sandbox.turnkeep(args.iter().chain(&["--json"]));
            let run = run_on_terminal(json, "");
            assert_eq!(run.code, Some(3), "{run:?}");
        }
        sandbox.run(&changes("claude:0b2f1c3d")[2]).ok();
        for args in [
            &["restore", "0b2"][..],
            &["resume", "0b2", "--exec"],
            &["resume", "0b2", "--restore"],
        ] {
            // The sessions of Claude Code have other ids.
            let run = run_on_terminal(sandbox.turnkeep(args), "");
            assert!(run.stdout.starts_with(named), "{run:?}");
        }
        let run = run_on_terminal(sandbox.turnkeep(["rm", "0b2"]), "y\n").ok();
        assert!(run.contains(named), "{run}");
        let lifted = run_on_terminal(sandbox.turnkeep(["removed", "lift", "0b"]), "").ok();
        assert!(lifted.contains("task claude:0b2f1c3d back"), "{lifted}");
        assert_eq!(sandbox.run(["list", "--json"]).one()["id"], "other");
    }

    #[test]
    fn an_ambiguous_id_changes_no_task() {
        let sandbox = sandbox(&[("0b-task", None), ("claude:0b99", Some("0b99"))]);
        for args in [
            &["append", "0b", "--role", "user", "x"][..],
            &["task", "status", "0b", "failed"],
            &["rm", "0b"],
        ] {
            let run = run_on_terminal(sandbox.turnkeep(args), "");
            assert_eq!(run.code, Some(4), "{run:?}");
            assert!(
                run.stdout.ends_with("is the beginning of 2 ids\n"),
                "{run:?}"
            );
        }
        let rows = sandbox.run(["list", "--json"]).json();
        let is_same = |row: &Value| row["turns"] == 1 && row["status"] == "pending";
        assert!(rows.len() == 2 && rows.iter().all(is_same), "{rows:?}");
    }

    #[test]
    fn an_id_that_was_removed_means_no_other_task_unless_a_person_agrees() {
        let sandbox = sandbox(&[
            ("login", Some("s")),
            ("login-tests", None),
            ("goose:20261001_1", Some("20261001_1")),
            ("goose:20261001_12", Some("20261001_12")),
        ]);
        for id in ["login", "20261001_1"] {
            sandbox.run(["rm", id, "--yes"]).ok();
            let again = run_on_terminal(sandbox.turnkeep(["rm", id]), "y\n");
            assert_eq!(again.code, Some(3), "{again:?}");
        }
        // A task that had no session is not recorded as removed.
        let asked = run_on_terminal(sandbox.turnkeep(["rm", "login-"]), "n\n").ok();
        assert!(
            asked.contains("login-tests  About login-tests\nID "),
            "{asked}"
        );
        let refused = run_on_terminal(sandbox.turnkeep(["rm", "login-", "--yes"]), "");
        assert_eq!(refused.code, Some(3), "{refused:?}");
        let refused = run_on_terminal(sandbox.turnkeep(["task", "rm", "login-"]), "");
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert_eq!(sandbox.run(["list", "--json"]).json().len(), 2);
    }
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
    let tasks = [
        ("login", Some("s")),
        ("login-tests", None),
        ("step-1", None),
        ("step-10", None),
        ("twin", Some("both")),
        ("twin-of-it", Some("both")),
        ("goose:20261001_1", Some("20261001_1")),
        ("goose:20261001_12", Some("20261001_12")),
    ];
    let rm = sandbox(&tasks);
    for id in ["login", "step-1", "twin", "20261001_1"] {
        rm.run(["rm", id, "--yes"]).ok();
        rm.run(["rm", id, "--yes"]).failed(3);
    }
    let task_rm = sandbox(&tasks);
    for id in ["login", "step-1", "twin", "goose:20261001_1"] {
        task_rm.run(["task", "rm", id]).ok();
        task_rm.run(["task", "rm", id]).failed(3);
        task_rm.run(["task", "rm", id, "--secure"]).ok();
    }
    let deleted = sandbox(&tasks);
    for id in ["login", "step-1", "twin", "goose:20261001_1"] {
        let task = TaskId::new(id).unwrap();
        assert!(deleted.repo().delete_task(&task).unwrap());
        deleted.run(["task", "rm", id]).failed(3);
        deleted.run(["rm", id, "--yes"]).failed(3);
    }
    for sandbox in [rm, task_rm, deleted] {
        assert_eq!(sandbox.run(["list", "--json"]).json().len(), 4);
    }
}

/// As an orchestrator has it that names a task by its session before it binds it.
#[test]
fn task_rm_takes_no_id_of_a_session() {
    let sandbox = sandbox(&[("0b2f", None), ("claude:0b2f", Some("0b2f"))]);
    sandbox.run(["task", "rm", "0b2f"]).ok();
    let error = sandbox.run(["task", "rm", "0b2f"]).failed(3);
    assert!(error.contains("the whole id of a task"), "{error}");
    assert_eq!(sandbox.run(["list", "--json"]).one()["id"], "claude:0b2f");
}

#[test]
fn all_commands_that_read_a_task_take_a_short_id() {
    let sandbox = two_tasks();
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
