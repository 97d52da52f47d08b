use std::fs;

use serde_json::Value;
use turnkeep_repo::{NewTask, Role, TaskId};

use crate::support::{Sandbox, names};

/// A store with two tasks: one with two turns, and one that depends on it.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let repo = sandbox.repo();
    let (a, b) = (TaskId::new("a").unwrap(), TaskId::new("b").unwrap());
    repo.save_task(&NewTask::new(b.clone(), "B")).unwrap();
    repo.save_task(&NewTask::new(a, "A").depends_on([b.clone()]))
        .unwrap();
    for text in ["Why?", "\u{1b}[31mBecause ✓\0"] {
        repo.save_message(&b, Role::User, text).unwrap();
    }
    sandbox
}

#[test]
fn an_export_to_standard_output_is_imported_as_a_file() {
    let sandbox = sandbox();
    let text = sandbox.run(["export"]).ok();
    assert_eq!(text, sandbox.run(["export", "-", "--format", "jsonl"]).ok());
    assert!(
        text.starts_with("{\"format\":\"turnkeep\",\"version\":1}\n"),
        "{text}"
    );
    assert!(
        text.ends_with("{\"end\":{\"tasks\":2,\"turns\":2,\"removed_sessions\":0}}\n"),
        "{text}"
    );
    sandbox.file("all.jsonl", &text);
    let import = [
        "import",
        "--format",
        "jsonl",
        "all.jsonl",
        "--db",
        "new folder/other.db",
    ];
    let said = sandbox.run(import).ok();
    assert_eq!(
        said,
        "new tasks: 2, new turns: 2, tasks that were there: 0\n"
    );
    let again = sandbox.run(import.into_iter().chain(["--json"])).one();
    assert_eq!(
        names(&again),
        ["added_tasks", "added_turns", "left_alone", "path"]
    );
    assert_eq!(
        (&again["added_tasks"], &again["left_alone"], &again["path"]),
        (&Value::from(0), &Value::from(2), &Value::from("all.jsonl"))
    );
    assert_eq!(
        sandbox.run(["export", "--db", "new folder/other.db"]).ok(),
        text
    );
}

#[test]
fn an_export_is_imported_through_a_pipe() {
    let sandbox = sandbox();
    let text = sandbox.run(["export"]).ok();
    let import = ["import", "--format", "jsonl", "-", "--db", "other.db"];
    let said = sandbox.run_with_stdin(&import, text.as_bytes()).ok();
    assert_eq!(
        said,
        "new tasks: 2, new turns: 2, tasks that were there: 0\n"
    );
    assert_eq!(sandbox.run(["export", "--db", "other.db"]).ok(), text);

    let half = &text.as_bytes()[..text.len() / 2];
    let error = sandbox.run_with_stdin(&import, half).failed(1);
    assert!(
        error.starts_with("error: -: import_jsonl: line 4 is cut off"),
        "{error}"
    );
    assert_eq!(sandbox.run(["export", "--db", "other.db"]).ok(), text);
}

#[test]
fn an_export_to_a_file_is_private_and_never_overwrites() {
    let sandbox = sandbox();
    let record = sandbox.run(["export", "all.jsonl", "--json"]).one();
    assert_eq!(names(&record), ["bytes", "path", "tasks", "turns"]);
    let text = fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
    assert_eq!(record["bytes"], text.len());
    assert_eq!(text, sandbox.run(["export"]).ok());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(sandbox.path("all.jsonl"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let error = sandbox.run(["export", "all.jsonl"]).failed(4);
    assert!(
        error.starts_with("error: all.jsonl exists already\nhint: "),
        "{error}"
    );
    assert_eq!(fs::read_to_string(sandbox.path("all.jsonl")).unwrap(), text);
    let error = sandbox.run(["import", "all.jsonl"]).failed(1);
    assert!(
        error.contains("\nhint: `--format jsonl` imports "),
        "{error}"
    );
    let said = sandbox.run(["export", "second.jsonl"]).ok();
    assert_eq!(said, format!("tasks: 2, turns: 2, bytes: {}\n", text.len()));
}

#[test]
#[cfg(unix)]
fn an_export_is_private_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = sandbox();
    for (umask, name) in [("000", "open.jsonl"), ("777", "closed.jsonl")] {
        sandbox.run_with_umask(umask, &["export", name]).ok();
        let metadata = fs::metadata(sandbox.path(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{umask}");
    }
}

#[test]
fn a_damaged_line_is_reported_and_the_import_can_be_repeated() {
    let sandbox = sandbox();
    let text = sandbox.run(["export"]).ok();
    sandbox.file("damaged.jsonl", text.replace("\"seq\":2", "\"seq\":3"));
    sandbox.file("all.jsonl", &text);
    let import = |file| sandbox.run(["import", "--format=jsonl", file, "--db", "other.db"]);
    let error = import("damaged.jsonl").failed(1);
    assert!(
        error.starts_with(
            "error: damaged.jsonl: import_jsonl: line 4 is out of place: \
             turn 2 of task `b` has to be here, not turn 3 of task `b`\nhint: nothing of its task"
        ),
        "{error}"
    );
    assert_eq!(
        sandbox
            .run(["task", "list", "--json", "--db", "other.db"])
            .ok(),
        ""
    );
    import("all.jsonl").ok();
    sandbox
        .run(["task", "status", "b", "completed", "--db", "other.db"])
        .ok();
    let error = import("all.jsonl").failed(4);
    assert!(
        error.contains("task `b` has changed at the destination since, at 20")
            && error.contains("\nhint: what only the destination has is not overwritten"),
        "{error}"
    );
}

#[test]
fn wrong_usage_creates_no_store() {
    let sandbox = Sandbox::new();
    let error = sandbox
        .run(["import", "--format", "jsonl", "none.jsonl"])
        .failed(3);
    assert!(
        error.starts_with("error: cannot open none.jsonl: "),
        "{error}"
    );
    let both = ["import", "--format", "jsonl", "--backend", "codex", "x"];
    let error = sandbox.run(both).failed(2);
    assert!(
        error.contains("`--backend` chooses among recordings"),
        "{error}"
    );
    let error = sandbox.run(["export", "all.jsonl"]).failed(3);
    assert!(error.contains("there is no store at"), "{error}");
    assert!(!sandbox.db().exists() && !sandbox.path("all.jsonl").exists());
}

#[cfg(unix)]
#[test]
fn a_full_output_fails_and_a_closed_one_does_not() {
    let sandbox = sandbox();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = sandbox.turnkeep(["export"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("cannot write the output"), "{error}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = sandbox
        .turnkeep(["export"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

#[cfg(feature = "postgres")]
#[test]
fn a_store_on_a_server_is_exported_and_imported() {
    let server = turnkeep_test_postgres::Server::shared().unwrap();
    let database = server.database().unwrap();
    let sandbox = sandbox();
    let text = sandbox.run(["export"]).ok();
    sandbox.file("all.jsonl", &text);
    let there = [
        "import",
        "--format",
        "jsonl",
        "all.jsonl",
        "--db",
        &database.url(),
    ];
    sandbox.run(there).ok();
    assert_eq!(sandbox.run(["export", "--db", &database.url()]).ok(), text);
}
