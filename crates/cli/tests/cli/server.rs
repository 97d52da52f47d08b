//! The program with a store on a server.

use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use turnkeep_test_postgres::Server;

use crate::restore::{assert_all_come_back, copy, recordings};
use crate::support::{Sandbox, names, run};
use crate::watch::{Watch, append};

#[test]
fn every_command_takes_the_address_of_a_server() {
    let database = Server::shared().unwrap().database().unwrap();
    let sandbox = Sandbox::new();
    let url = database.url();
    let none = run(sandbox.turnkeep(["task", "list", "--db"]).arg(&url)).failed(3);
    assert!(none.contains("there is no store at postgres://"), "{none}");
    run(sandbox.turnkeep(["task", "add", "t", "--db"]).arg(&url)).ok();
    let with = |args: &[&str]| run(sandbox.turnkeep(args).env("TURNKEEP_DB", &url));
    with(&["append", "t", "--role", "user", "a\u{0010}b"]).ok();
    let set = [
        "session",
        "set",
        "t",
        "--backend",
        "codex",
        "--session-id",
        "1",
    ];
    with(&set).ok();
    assert_eq!(
        with(&["history", "t", "--json"]).one()["content"],
        "a\u{10}b"
    );
    assert_eq!(
        with(&["session", "get", "t", "--json"]).one()["session_id"],
        "1"
    );
    let task = with(&["task", "show", "t", "--json"]).one();
    assert_eq!(task["turns"]["user"], 1);
    assert!(names(&task).contains(&"revisions"));
    assert!(with(&["resume", "t"]).failed(7).contains("codex"));
    assert!(!sandbox.db().exists());
}

#[test]
fn every_file_comes_back_from_a_server() {
    let database = Server::shared().unwrap().database().unwrap();
    let sandbox = Sandbox::new();
    let files = recordings(&sandbox);
    let url = database.url();
    let imported = run(sandbox.turnkeep(["import", "homes", "--db"]).arg(&url));
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    assert_all_come_back(&sandbox, &files, &url);
}

#[test]
fn every_file_comes_back_after_a_copy_to_a_server_and_back() {
    let database = Server::shared().unwrap().database().unwrap();
    let sandbox = Sandbox::new();
    let files = recordings(&sandbox);
    let imported = sandbox.run(["import", "homes"]);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    copy(&sandbox, "store.db", &database.url());
    assert_all_come_back(&sandbox, &files, &database.url());
    copy(&sandbox, &database.url(), "back.db");
    let back = sandbox.path("back.db");
    assert_all_come_back(&sandbox, &files, back.to_str().unwrap());
}

/// Only a file can be rewritten. The command refuses the option before it deletes a task.
#[test]
fn an_option_refused_by_a_server_deletes_no_task() {
    let database = Server::shared().unwrap().database().unwrap();
    let sandbox = Sandbox::new();
    let url = database.url();
    let with = |args: &[&str]| run(sandbox.turnkeep(args).env("TURNKEEP_DB", &url));
    with(&["task", "add", "t", "--status", "completed"]).ok();
    for args in [
        ["prune", "--keep-size", "0kB", "--vacuum", "--yes"].as_slice(),
        &["prune", "--keep-size", "0kB", "--vacuum", "--json"],
        &["prune", "--vacuum"],
        &["task", "rm", "t", "--secure"],
        &["rm", "t", "--secure", "--yes"],
    ] {
        let refused = with(args);
        assert_eq!(refused.stdout, "", "{args:?}");
        let error = refused.failed(1);
        assert!(
            error.contains("`VACUUM FULL`") || error.contains("can't erase"),
            "{error}"
        );
        assert_eq!(
            with(&["task", "list", "--json"]).json().len(),
            1,
            "{args:?}"
        );
    }
    let pruned = with(&["prune", "--keep-size", "0kB", "--yes"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    assert_eq!(with(&["task", "list", "--json"]).ok(), "");
}

#[test]
fn tokens_are_read_from_a_server_and_sessions_removed_there() {
    let database = Server::shared().unwrap().database().unwrap();
    let sandbox = Sandbox::new();
    let url = database.url();
    let with = |args: &[&str]| run(sandbox.turnkeep(args).env("TURNKEEP_DB", &url));
    let session = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
    let message = json!({"id": "msg_1", "role": "assistant", "model": "opus", "content": [{"type": "text", "text": "Yes."}],
        "usage": {"output_tokens": 7}});
    let line = json!({"type": "assistant", "uuid": "u", "sessionId": session, "cwd": "/srv/app",
        "timestamp": "2026-02-03T08:00:00Z", "message": message});
    let path = format!(".claude/projects/-srv-app/{session}.jsonl");
    sandbox.file(&path, format!("{line}\n"));
    with(&["import"]).ok();
    let stats = with(&["stats", "--tokens", "--json"]).one();
    assert_eq!(stats["tokens"][0]["output"], 7);
    let removed = with(&["rm", "--folder", "/srv", "--yes"]).ok();
    assert!(
        removed.starts_with("removed: 1 session with 1 turn"),
        "{removed}"
    );
    assert!(with(&["import"]).ok().contains("removed earlier: 1"));
    assert_eq!(with(&["list", "--json"]).ok(), "");
}

#[test]
fn a_watch_outlives_its_server() {
    let server = Server::start(&[]).unwrap();
    let database = server.database().unwrap();
    let sandbox = Sandbox::new();
    append(&sandbox, 1);
    let mut watch = Watch::start(&sandbox, &["watch", "--db", &database.url()]);
    assert!(watch.line().contains("new turns: 1, "));
    assert!(watch.remark().starts_with("following "));
    server.stop().unwrap();
    append(&sandbox, 2);
    let remark = watch.remark();
    assert!(
        remark.starts_with("error: changes wait for the store"),
        "{remark}"
    );
    assert!(watch.remark().starts_with("hint: "));
    append(&sandbox, 3);
    server.start_again().unwrap();
    assert!(watch.line().contains("new turns: 2, "));
    let remark = watch.remark();
    assert!(remark.starts_with("the store works again"), "{remark}");
    kill_process(Pid::from_child(&watch.child), Signal::TERM).unwrap();
    assert_eq!(watch.end(), (Some(0), String::new(), String::new()));
}

#[test]
fn a_password_is_never_shown() {
    // The port is free again.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sandbox = Sandbox::new();
    for address in [
        format!("postgres://user:s3cret@127.0.0.1:{port}/db"),
        format!("postgres://user@127.0.0.1:{port}/db?password=s3cret"),
        format!("postgres://user:s3cret@127.0.0.1:{port}/db?connect_timeout=x"),
        "postgres://user:s3@cret@127.0.0.1/db".into(),
        "mysql://user:s3cret@127.0.0.1/db".into(),
    ] {
        for mut command in [
            sandbox.turnkeep(["task", "list", "--db", &address]),
            sandbox.turnkeep(["append", "t", "--role", "user", "x", "--db", &address]),
            sandbox.turnkeep(["copy", "--from", &address, "--to", &address]),
            sandbox.turnkeep(["copy", &address, &address]),
            sandbox.turnkeep(["task", &format!("--dd={address}")]),
            sandbox.turnkeep([&address]),
            sandbox.turnkeep(["import", &address]),
        ] {
            let output = run(&mut command);
            assert_ne!(output.code, Some(0), "{output:?}");
            for text in [&output.stdout, &output.stderr] {
                assert!(!text.contains("cret"), "{text}");
            }
        }
    }
    let address = format!("postgres://user:s3cret@127.0.0.1:{port}/db");
    let error = sandbox.run(["task", "list", "--db", &address]).failed(5);
    let shown = format!("the server with postgres://127.0.0.1:{port}/db is unavailable");
    assert!(error.contains(&shown), "{error}");
    assert!(error.contains("\nhint: is the server running"), "{error}");
}

#[test]
fn the_index_of_a_server_is_in_the_cache_folder() {
    let database = Server::shared().unwrap().database().unwrap();
    let sandbox = Sandbox::new();
    let url = database.url();
    let with = |args: &[&str]| run(sandbox.turnkeep(args).env("TURNKEEP_DB", &url));
    with(&["task", "add", "t"]).ok();
    with(&["append", "t", "--role", "user", "the needle"]).ok();
    assert_eq!(with(&["search", "needle", "--json"]).one()["task_id"], "t");
    let folder = sandbox.path(".cache/turnkeep");
    let names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        matches!(&names[..], [name] if name.ends_with(".search")),
        "{names:?}"
    );
    with(&["task", "rm", "t"]).ok();
    let none = with(&["search", "needle"]);
    assert_eq!(
        (&*none.stdout, &*none.stderr),
        ("", "no turn has these words\n")
    );
}
