//! With `--json`, each line on standard error is an object.

use serde_json::{Value, json};

use crate::support::{Run, Sandbox, json_lines, names, run};

/// Returns the error, which is all of standard error.
#[track_caller]
fn error(run: Run, code: i32) -> Value {
    let stderr = run.failed(code);
    let mut lines = json_lines(&stderr);
    assert_eq!(lines.len(), 1, "{stderr}");
    let mut line = lines.remove(0);
    assert_eq!(names(&line), ["error"]);
    let error = line["error"].take();
    assert_eq!(
        names(&error),
        ["hint", "kind", "message", "operation", "retryable", "task"]
    );
    error
}

#[test]
fn an_error_is_one_object() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let missing = error(sandbox.run(["history", "x", "--json"]), 3);
    assert_eq!(
        missing,
        json!({
            "kind": "task_not_found",
            "operation": "get_task",
            "task": "x",
            "message": "get_task: there is no task `x`",
            "hint": "`turnkeep list` shows the tasks there are",
            "retryable": false,
        })
    );
    sandbox.run(["task", "claim", "t"]).ok();
    let run = sandbox.run(["--json", "task", "claim", "t"]);
    assert_eq!(run.stdout, "{\"task_id\":\"t\",\"claimed\":false}\n");
    let claimed = error(run, 4);
    assert_eq!(
        (&claimed["kind"], &claimed["task"], &claimed["operation"]),
        (&json!("conflict"), &json!("t"), &Value::Null)
    );
}

#[test]
fn wrong_usage_is_one_object() {
    let sandbox = Sandbox::new();
    for (args, message, hint) in [
        (
            &["append", "t", "--role", "boss", "x", "--json"][..],
            "invalid value 'boss' for '--role <ROLE>' [possible values: user, assistant, system, tool]",
            Value::Null,
        ),
        (
            &["--json", "lst"],
            "unrecognized subcommand 'lst'",
            json!("a similar subcommand exists: 'list'"),
        ),
        (
            &["copy", "--json", "--from", "a.db"],
            "the following required arguments were not provided: --to <STORE>",
            Value::Null,
        ),
        (
            &[
                "copy", "--json", "--from", "a.db", "--to", "b.db", "--db", "c.db",
            ],
            "`copy` has `--from` and `--to`, and takes no `--db`",
            Value::Null,
        ),
        (
            &["--json"],
            "a command is missing",
            json!("`--help` lists the commands"),
        ),
    ] {
        let error = error(sandbox.run(args), 2);
        assert_eq!(error["kind"], "usage");
        assert_eq!(error["message"], message);
        assert_eq!(error["hint"], hint, "{args:?}");
    }
    let text = sandbox.run(["fly", "--", "--json"]).failed(2);
    assert!(text.starts_with("error: unrecognized"), "{text}");
    // The value of an option.
    let value = ["task", "status", "x", "failed", "--error", "--json"];
    let text = sandbox.run(value).failed(3);
    assert!(text.starts_with("error: open: "), "{text}");
}

#[test]
fn a_warning_and_a_note_are_objects() {
    let sandbox = Sandbox::new();
    let id = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
    sandbox.run(["task", "add", "t"]).ok();
    let mut set = vec!["session", "set", "t", "--backend", "claude"];
    set.extend(["--session-id", id, "--working-dir", "/srv/app"]);
    sandbox.run(set).ok();
    sandbox.run(["append", "t", "--role", "user", "hi"]).ok();
    let resumed = sandbox.run(["resume", "t", "--restore", "--json"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let lines = json_lines(&resumed.stderr);
    let warning = &lines[0]["warning"];
    assert_eq!(names(warning), ["hint", "message"]);
    let message = warning["message"].as_str().unwrap();
    assert!(message.contains("is made of the words"), "{message}");

    sandbox.run(["task", "status", "t", "completed"]).ok();
    let planned = sandbox.run(["prune", "--keep-size", "0kB", "--json"]);
    let lines = json_lines(&planned.stderr);
    let note = "nothing was deleted; `--yes` deletes this without a question";
    assert_eq!(lines, [json!({"note": {"message": note}})]);
}

#[test]
fn no_object_shows_a_password() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let address = "postgres://ada:secret@127.0.0.1:1/db";
    for args in [
        &["task", address, "--json"][..],
        &["show", address, "--json"],
        &["append", address, "--role", "user", "x", "--json"],
        &["list", "--json", "--since", address],
        &["import", "--json", address],
        &["export", "--json", address],
        &["list", "--json", "--db", address],
    ] {
        let run = run(&mut sandbox.turnkeep(args));
        assert_ne!(run.code, Some(0), "{args:?}");
        assert!(!run.stderr.contains("secret"), "{args:?}: {}", run.stderr);
        assert_eq!(json_lines(&run.stderr).len(), 1, "{}", run.stderr);
    }
}

#[test]
fn each_failure_of_an_import_is_an_object() {
    let sandbox = Sandbox::new();
    sandbox.file("odd.jsonl", "no recording");
    let run = sandbox.run(["import", "none", "odd.jsonl", "--json"]);
    let lines = json_lines(&run.failed(1));
    let kinds: Vec<_> = lines.iter().map(|line| &line["error"]["kind"]).collect();
    assert_eq!(kinds, ["file_not_found", "recording"]);
}
