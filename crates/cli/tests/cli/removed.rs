//! Sessions of removed tasks, which imports leave out.

use serde_json::json;

use crate::support::{Sandbox, in_words, is_time};

const ID: &str = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";

/// Makes a sandbox with an imported session, which the task `claude:ID` has.
fn imported() -> Sandbox {
    let sandbox = Sandbox::new();
    let line = json!({
        "type": "user", "sessionId": ID, "timestamp": "2026-02-03T00:00:00.500Z",
        "message": {"role": "user", "content": "Why?"},
    });
    let path = format!("claude/projects/-srv-app/{ID}.jsonl");
    sandbox.file(&path, format!("{line}\n"));
    assert_eq!(import(&sandbox), "sessions: 1, new turns: 1");
    sandbox
}

/// Imports the session, and returns the last line.
fn import(sandbox: &Sandbox) -> String {
    let path = sandbox.path("claude");
    let text = sandbox.run(["import".as_ref(), path.as_os_str()]).ok();
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_removed_task_stays_away_until_that_is_lifted() {
    let sandbox = imported();
    let task = format!("claude:{ID}");
    sandbox.run(["task", "rm", &task]).ok();
    assert_eq!(
        import(&sandbox),
        "sessions: 0, new turns: 0, removed earlier: 1"
    );
    assert!(sandbox.repo().get_tasks().unwrap().is_empty());
    let removed = sandbox.run(["removed", "--json"]).one();
    assert!(is_time(&removed["removed_at"]));
    let expected = json!({
        "task_id": task, "backend": "claude", "session_id": ID, "removed_at": removed["removed_at"],
    });
    assert_eq!(removed, expected);
    let table = sandbox.run(["removed"]).ok();
    assert!(table.lines().nth(1).unwrap().contains(ID), "{table}");

    let lifted = sandbox.run(["removed", "lift", &task]).ok();
    assert_eq!(
        lifted,
        format!("the next import brings task {task} back (sessions: 1)\n")
    );
    assert_eq!(sandbox.run(["removed", "--json"]).ok(), "");
    let again = sandbox.run(["removed", "lift", &task, "--json"]);
    assert!(again.stdout.contains("\"sessions\":0"), "{again:?}");
    assert!(in_words(&again.failed(3)).starts_with("error: no removed session belongs to task"));
    assert_eq!(import(&sandbox), "sessions: 1, new turns: 1");
}

#[test]
fn an_erased_task_stays_away() {
    let sandbox = imported();
    sandbox
        .run(["task", "rm", &format!("claude:{ID}"), "--secure"])
        .ok();
    assert_eq!(
        import(&sandbox),
        "sessions: 0, new turns: 0, removed earlier: 1"
    );
}

/// Of a session that an orchestrator has bound no import would make a task by itself.
#[test]
fn a_pruned_import_stays_away() {
    let sandbox = imported();
    sandbox
        .run(["task", "add", "own", "--status", "completed"])
        .ok();
    sandbox
        .run([
            "session",
            "set",
            "own",
            "--backend",
            "claude",
            "--session-id",
            "other",
        ])
        .ok();
    let pruned = sandbox.run(["prune", "--keep-size", "0B", "--yes"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    assert!(sandbox.repo().get_tasks().unwrap().is_empty());
    let removed = sandbox.run(["removed", "--json"]).one();
    assert_eq!(removed["session_id"], ID);
    assert_eq!(
        import(&sandbox),
        "sessions: 0, new turns: 0, removed earlier: 1"
    );
}

/// The hook and the watch log the same.
#[test]
fn a_removed_session_that_goes_on_is_a_warning() {
    let sandbox = imported();
    let task = format!("claude:{ID}");
    sandbox.run(["task", "rm", &task]).ok();
    let line = json!({
        "type": "user", "sessionId": ID, "timestamp": "2200-02-03T00:00:00.500Z",
        "message": {"role": "user", "content": "Go on"},
    });
    let path = sandbox.file(
        &format!("claude/projects/-srv-app/{ID}.jsonl"),
        format!("{line}\n"),
    );
    let run = sandbox.run(["import".as_ref(), path.as_os_str()]);
    assert_eq!(
        run.stdout,
        "sessions: 0, new turns: 0, removed earlier: 1\n"
    );
    let told = format!("session `{ID}` goes on since its task `{task}` was removed");
    let hint = "hint: `turnkeep removed lift` the task, and the next import brings it back";
    assert!(run.stderr.contains(&told), "{run:?}");
    assert!(run.stderr.contains(hint), "{run:?}");

    let event = json!({"session_id": ID, "hook_event_name": "UserPromptSubmit", "prompt": "Go on"});
    let hook = sandbox.run_with_stdin(&["hook", "claude", "--wait"], event.to_string().as_bytes());
    let stderr = hook.failed(1);
    assert!(stderr.contains(&told) && stderr.contains(hint), "{stderr}");
}
