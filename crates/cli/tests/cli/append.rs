use std::fs;
use std::path::PathBuf;

use serde_json::json;
use turnkeep_repo::Repo;

use crate::support::Sandbox;

/// The store and the log beside it.
fn files(sandbox: &Sandbox) -> [PathBuf; 2] {
    [sandbox.db(), sandbox.path("store.db-wal")]
}

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

#[test]
fn a_script_goes_on_with_the_log_and_other_commands_end_it() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let [store, log] = files(&sandbox);
    let bytes = fs::read(&store).unwrap();
    let mut length = 0;
    for command in [
        "append t --role user one",
        "append t --role assistant two",
        "session set t --backend claude --session-id s",
    ] {
        sandbox.run(command.split(' ')).ok();
        let grown = log.metadata().unwrap().len();
        assert!(grown > length, "{command}");
        length = grown;
    }
    assert!(fs::read(&store).unwrap() == bytes, "all is in the log");
    for (file, copy) in [&store, &log].into_iter().zip(["copy.db", "copy.db-wal"]) {
        fs::copy(file, sandbox.path(copy)).unwrap();
    }
    let copy = Repo::open(sandbox.path("copy.db")).unwrap();
    assert_eq!(copy.count_history(&"t".parse().unwrap()).unwrap(), 2);
    sandbox.run(["list"]).ok();
    assert!(!log.exists());
}

#[test]
fn a_store_that_was_deleted_without_its_log_has_a_hint() {
    let sandbox = Sandbox::new();
    let add = || sandbox.run(["task", "add", "t"]);
    add().ok();
    sandbox.run(["append", "t", "--role", "user", "hi"]).ok();
    let [store, log] = files(&sandbox);
    fs::remove_file(&store).unwrap();
    let error = add().failed(1);
    assert!(
        error.contains("\nhint: the log (`-wal`) belongs to"),
        "{error}"
    );
    assert!(!error.contains("backup restore"), "{error}");
    assert!(!store.exists() && log.exists());

    fs::remove_file(log).unwrap();
    fs::remove_file(sandbox.path("store.db-shm")).unwrap();
    add().ok();
}

#[test]
#[cfg(unix)]
fn a_log_that_is_left_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = Sandbox::new();
    sandbox.run_with_umask("000", &["task", "add", "t"]).ok();
    let append = ["append", "t", "--role", "user", "hi"];
    sandbox.run_with_umask("000", &append).ok();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let mode = sandbox.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_log_of_many_appends_stays_short() {
    let sandbox = Sandbox::new();
    sandbox.run(["task", "add", "t"]).ok();
    let text = "x".repeat(20_000);
    let lengths: Vec<_> = (0..40)
        .map(|_| {
            sandbox.run(["append", "t", "--role", "user", &text]).ok();
            let [_, log] = files(&sandbox);
            log.metadata().map_or(0, |it| it.len())
        })
        .collect();
    let longest = lengths.iter().max().copied().unwrap_or_default();
    assert!((1..=512 * 1024).contains(&longest), "{lengths:?}");
    assert!(lengths.contains(&0), "it was ended: {lengths:?}");
    assert_eq!(
        sandbox.repo().count_history(&"t".parse().unwrap()).unwrap(),
        40
    );
}
