use std::path::Path;

use serde_json::Value;
use turnkeep_repo::{NewTask, Repo, Role, StatusUpdate, TaskId};

use crate::support::{Run, Sandbox, in_words, names, run};

const TABLES: [&str; 9] = [
    "tasks",
    "task_dependencies",
    "sessions",
    "session_revisions",
    "conversation_history",
    "history_retractions",
    "recordings",
    "recording_chunks",
    "removed_sessions",
];

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

/// Stores two tasks, one of them with three turns.
fn fill(repo: &Repo) {
    repo.save_task(&NewTask::new(id("a"), "A")).unwrap();
    repo.save_task(&NewTask::new(id("b"), "B").depends_on([id("a")]))
        .unwrap();
    for text in ["1", "2", "3"] {
        repo.save_message(&id("b"), Role::User, text).unwrap();
    }
}

fn copy(sandbox: &Sandbox, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Run {
    let (from, to) = (from.as_ref(), to.as_ref());
    run(sandbox
        .turnkeep(["copy", "--json", "--from"])
        .arg(from)
        .arg("--to")
        .arg(to))
}

fn column<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().map(|line| &line[name]).collect()
}

#[test]
fn a_copy_prints_a_line_of_json_per_table() {
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    let other = sandbox.path("new folder/other.db");
    let lines = copy(&sandbox, sandbox.db(), &other).json();
    assert_eq!(column(&lines, "table"), TABLES);
    assert_eq!(column(&lines, "rows"), [2, 1, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(column(&lines, "written_rows"), [2, 1, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(column(&lines, "other_rows"), [0; 9]);
    assert_eq!(
        names(&lines[0]),
        ["other_rows", "rows", "table", "written_rows"]
    );
    let repo = Repo::open(&other).unwrap();
    assert_eq!(
        repo.get_tasks().unwrap(),
        sandbox.repo().get_tasks().unwrap()
    );
    assert_eq!(
        repo.get_history(&id("b")).unwrap(),
        sandbox.repo().get_history(&id("b")).unwrap()
    );
    drop(repo);

    let again = copy(&sandbox, sandbox.db(), &other).json();
    assert_eq!(column(&again, "written_rows"), [0; 9]);
    let back = copy(&sandbox, &other, sandbox.db()).json();
    assert_eq!(column(&back, "written_rows"), [0; 9]);
}

#[test]
fn the_table_shows_rows_that_both_stores_have() {
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    let other = Repo::open(sandbox.path("other.db")).unwrap();
    other.save_task(&NewTask::new(id("c"), "C")).unwrap();
    let text = sandbox
        .run(["copy", "--from", "store.db", "--to", "other.db"])
        .ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "TABLE                 ROWS  WRITTEN");
    assert_eq!(
        lines[5..],
        [
            "conversation_history     3        3",
            "history_retractions      0        0",
            "recordings               0        0",
            "recording_chunks         0        0",
            "removed_sessions         0        0",
            "the same in both stores",
            "tasks that only the second store has, left alone: 1"
        ]
    );
}

#[test]
fn a_newer_task_is_not_overwritten() {
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    let path = sandbox.path("other.db");
    copy(&sandbox, sandbox.db(), &path).ok();
    let other = Repo::open(&path).unwrap();
    other
        .update_task_status(&id("a"), StatusUpdate::failed("there"))
        .unwrap();
    let result = copy(&sandbox, sandbox.db(), &path);
    assert_eq!(result.stdout, "");
    let error = in_words(&result.failed(4));
    assert!(
        error.starts_with("error: copy: task `a` has changed at the destination since, at 20"),
        "{error}"
    );
    assert!(
        error.contains("\nhint: what only the destination has is not overwritten; "),
        "{error}"
    );
    assert_eq!(
        other.get_task(&id("a")).unwrap().error.as_deref(),
        Some("there")
    );
}

#[test]
fn a_difference_fails() {
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    let path = sandbox.path("other.db");
    copy(&sandbox, sandbox.db(), &path).ok();
    let other = Repo::open(&path).unwrap();
    for (repo, text) in [(&other, "there"), (&sandbox.repo(), "here")] {
        repo.save_message(&id("b"), Role::User, text).unwrap();
    }
    let result = copy(&sandbox, sandbox.db(), &path);
    assert_eq!(result.stdout, "");
    let error = result.failed(4);
    assert!(
        error.contains("task `b` has another turn 4 at the destination"),
        "{error}"
    );
}

#[test]
fn a_missing_source_creates_no_store() {
    let sandbox = Sandbox::new();
    let error = in_words(&copy(&sandbox, "none.db", "new.db").failed(3));
    assert!(
        error.starts_with("error: the store to copy from: open: there is no store at "),
        "{error}"
    );
    assert!(!sandbox.path("new.db").exists() && !sandbox.path("none.db").exists());
    fill(&sandbox.repo());
    sandbox.file(
        "other.db",
        "no database, but long enough to be looked at as one",
    );
    let error = in_words(&copy(&sandbox, sandbox.db(), "other.db").failed(1));
    assert!(
        error.starts_with("error: the store to copy to: "),
        "{error}"
    );
}

#[cfg(feature = "postgres")]
#[test]
fn a_store_is_copied_to_a_server_and_back() {
    let database = turnkeep_test_postgres::Server::shared()
        .unwrap()
        .database()
        .unwrap();
    let sandbox = Sandbox::new();
    fill(&sandbox.repo());
    let there = copy(&sandbox, sandbox.db(), database.url()).json();
    assert_eq!(column(&there, "written_rows"), [2, 1, 0, 0, 3, 0, 0, 0, 0]);
    let back = copy(&sandbox, database.url(), "back.db").json();
    assert_eq!(column(&there, "rows"), column(&back, "rows"));
    let back = Repo::open(sandbox.path("back.db")).unwrap();
    assert_eq!(
        back.get_tasks().unwrap(),
        sandbox.repo().get_tasks().unwrap()
    );
}
