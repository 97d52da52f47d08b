//! Each kind of error once, as a caller meets it. Those of the rules of sessions, history and
//! tasks stand with them; those that need a look inside (a full disk, a read-only connection)
//! are unit tests of the store.

use std::process::Command;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use turnkeep_repo::{Error, HistoryPage, Repo, Role, SessionId, TaskId};

use crate::support::{TempStore, Worker};

#[test]
fn invalid_values_name_field_and_reason() {
    let error = Error::from(TaskId::new("").unwrap_err());
    assert_eq!(error.to_string(), "new: invalid task id: must not be empty");
    assert!(matches!(
        error,
        Error::InvalidInput {
            field: "task id",
            ..
        }
    ));
    assert!(!error.is_retryable());
    let error = Error::from(SessionId::new("a\0").unwrap_err());
    assert_eq!(
        error.to_string(),
        "new: invalid session id: must not contain a NUL character"
    );
}

#[test]
fn zero_readers_are_refused() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let error = Repo::builder(store.path()).readers(0).open().unwrap_err();
    assert!(matches!(
        error,
        Error::InvalidInput {
            field: "readers",
            ..
        }
    ));
    assert!(!store.path().exists());
    Ok(())
}

/// Rows that the constraints forbid, stored by a program that turned them off.
#[test]
fn a_row_that_cannot_be_read_is_named() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    for content in ["1", "2"] {
        repo.save_message(&task, Role::User, content)?;
    }
    store.execute(
        "PRAGMA ignore_check_constraints = ON; \
         INSERT INTO conversation_history VALUES ('t', 3, 'robot', 'x', 0, NULL)",
    )?;
    store.execute(
        "INSERT INTO conversation_history VALUES ('t', 4, 'user', CAST(x'ff' AS TEXT), 0, NULL); \
         INSERT INTO conversation_history VALUES ('t', 5, 'user', 'good', 0, NULL)",
    )?;
    let error = repo.get_history(&task).unwrap_err();
    assert_eq!(
        error.to_string(),
        "get_history: turn 3 of task `t` is damaged"
    );
    assert!(matches!(error, Error::Corrupt { .. }));
    let chain = format!("{:#}", anyhow::Error::from(error));
    assert!(chain.contains("invalid role: is none of user"), "{chain}");

    let page = |after| repo.get_history_page(&task, HistoryPage { after, limit: 10 });
    assert_eq!(
        page(3).unwrap_err().to_string(),
        "get_history_page: turn 4 of task `t` is damaged"
    );
    assert_eq!(page(4)?.len(), 1, "the rest can be read around it");
    assert_eq!(repo.count_history(&task)?, 5);
    Ok(())
}

#[test]
fn a_damaged_file_is_corrupt() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    for _ in 0..50 {
        repo.save_message(&task, Role::User, &"x".repeat(2_000))?;
    }
    drop(repo);
    let mut bytes = std::fs::read(store.path())?;
    let half = bytes.len() / 2;
    bytes[half..].fill(0xa5);
    std::fs::write(store.path(), &bytes)?;
    let repo = store.open()?;
    let error = repo.get_history(&task).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(error.to_string(), "get_history: task `t` is damaged");
    Ok(())
}

#[test]
fn what_another_programs_schema_refuses_is_told() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    store.execute(
        "CREATE TRIGGER theirs BEFORE INSERT ON conversation_history \
         BEGIN SELECT RAISE(ABORT, 'not on my watch'); END",
    )?;
    let error = repo.save_message(&task, Role::User, "x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "save_message: the database refused task `t`"
    );
    assert!(matches!(error, Error::Database { .. }));
    assert!(format!("{:#}", anyhow::Error::from(error)).contains("not on my watch"));
    Ok(())
}

/// A store whose file is gone hands out no new connections, and never makes a new file.
#[test]
fn a_deleted_file_is_a_pool_failure() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (_, task) = store.open_with_task("t")?;
    let repo = Repo::builder(store.path())
        .timeout(Duration::from_secs(1))
        .open()?;
    std::fs::remove_file(store.path())?;
    let error = repo.get_history(&task).unwrap_err();
    assert!(matches!(error, Error::Pool { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "get_history: no connection for task `t` could be made in 1s"
    );
    let chain = format!("{:#}", anyhow::Error::from(error));
    assert!(chain.contains("unable to open database file"), "{chain}");
    assert!(!store.path().exists());
    Ok(())
}

/// A file that may not grow: the system fails the write, and everything before it is there.
#[test]
#[cfg(unix)]
fn a_failing_disk_is_an_io_error() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    drop(repo);
    // 2,000 blocks of 512 or 1,024 bytes, whatever this shell means by a block; the signal that
    // would end the process is ignored, so that the write fails instead.
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\" 2>&1")
        .arg(env!("CARGO_BIN_EXE_turnkeep-test-worker"))
        .args([
            "append",
            &store.path().to_string_lossy(),
            "t",
            &"x".repeat(1_000),
            "0",
        ]);
    let mut worker = Worker::start(&mut command)?;
    let mut lines = Vec::new();
    while let Some(line) = worker.line()? {
        lines.push(line);
    }
    let failure = lines
        .iter()
        .position(|line| !line.starts_with("ack "))
        .expect("it ends");
    assert!(failure > 0, "some writes went well: {lines:?}");
    let told = lines[failure..].join("\n");
    assert!(
        told.contains("save_message: reading or writing task `t` failed"),
        "{told}"
    );
    assert!(told.contains("disk I/O error"), "{told}");
    drop(worker);
    assert_eq!(
        store.open()?.count_history(&task)?,
        failure as i64,
        "no false acknowledgement"
    );
    Ok(())
}

/// The constraints hold for programs that know nothing of this library.
#[test]
fn the_database_itself_refuses_what_the_types_forbid() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    crate::support::save_task(&repo, "u")?;
    repo.save_message(&task, Role::User, "said")?;
    let keyed = turnkeep_repo::NewMessage::new(Role::User, "keyed").key("k".parse()?);
    repo.save_messages(&task, &[keyed])?;
    let binding = crate::support::binding(turnkeep_repo::BackendType::Claude, "s", None)?;
    repo.save_session(&task, &binding)?;
    repo.save_task(&turnkeep_repo::NewTask::new("w".parse()?, "W").depends_on([task.clone()]))?;
    crate::support::save_task(&repo, "leased")?;
    store.execute(
        "UPDATE tasks SET fence = 3, worker = 'w', lease_ends_at = 0 WHERE id = 'leased'",
    )?;
    let before = (
        repo.list_tasks()?,
        repo.get_history(&task)?,
        repo.list_session_revisions(&task)?,
    );

    let long = "x".repeat(513);
    let mut refused = vec![
        // Turns: never changed, never removed, never replaced, no gap, no second key.
        "UPDATE conversation_history SET content = 'other'".into(),
        "UPDATE conversation_history SET seq = 7 WHERE seq = 2".into(),
        "DELETE FROM conversation_history".into(),
        "INSERT OR REPLACE INTO conversation_history VALUES ('t', 1, 'user', 'other', 0, NULL)"
            .into(),
        "INSERT OR REPLACE INTO conversation_history VALUES ('t', 3, 'user', 'other', 0, 'k')"
            .into(),
        "INSERT OR REPLACE INTO conversation_history \
         (rowid, task_id, seq, role, content, timestamp) VALUES (1, 't', 3, 'user', 'x', 0)"
            .into(),
        "INSERT INTO conversation_history \
         (rowid, task_id, seq, role, content, timestamp) VALUES (-1, 't', 3, 'user', 'x', 0)"
            .into(),
        "INSERT INTO conversation_history VALUES ('t', 4, 'user', 'gap', 0, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 0, 'user', 'zero', 0, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('none', 1, 'user', 'x', 0, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'robot', 'x', 0, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', x'00', 0, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', NULL, 0, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 'x', 'now', NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 'x', 1.5, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 'x', 9223372036854775807, NULL)"
            .into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 'x', 0, '')".into(),
        // Revisions: only retired, once; never removed or replaced.
        "DELETE FROM session_revisions".into(),
        "UPDATE session_revisions SET session_id = 'other'".into(),
        "UPDATE session_revisions SET retired_at = 1".into(),
        "INSERT OR REPLACE INTO session_revisions VALUES ('t', 1, 'x', 'x', NULL, 0, NULL, NULL)"
            .into(),
        "INSERT INTO session_revisions VALUES ('t', 3, 'x', 'x', NULL, 0, NULL, NULL)".into(),
        // Sessions and tasks.
        "INSERT INTO sessions VALUES ('none', 'claude', 's', NULL, 0, 0)".into(),
        "UPDATE sessions SET session_id = ''".into(),
        "UPDATE sessions SET backend_type = ''".into(),
        "UPDATE sessions SET working_dir = ''".into(),
        "UPDATE sessions SET task_id = 'u'".into(),
        "INSERT INTO session_revisions VALUES ('t', 2, 'x', 'x', NULL, 0, NULL, NULL)".into(),
        "INSERT OR REPLACE INTO tasks SELECT * FROM tasks WHERE id = 't'".into(),
        "INSERT OR REPLACE INTO tasks (rowid, id, name, prompt, writes_files, status, failure_mode, \
         created_at, updated_at) VALUES (1, 'v', '', '', '[]', 'pending', 'hard', 0, 0)"
            .into(),
        "INSERT INTO tasks (rowid, id, name, prompt, writes_files, status, failure_mode, \
         created_at, updated_at) VALUES (-1, 'v', '', '', '[]', 'pending', 'hard', 0, 0)"
            .into(),
        "UPDATE OR REPLACE tasks SET id = 't' WHERE id = 'u'".into(),
        "UPDATE OR REPLACE tasks SET rowid = 1 WHERE id = 'u'".into(),
        "UPDATE tasks SET writes_files = '[1]'".into(),
        "UPDATE tasks SET writes_files = '[\"a\", null]'".into(),
        "UPDATE tasks SET status = 'done'".into(),
        "UPDATE tasks SET failure_mode = 'none'".into(),
        "UPDATE tasks SET writes_files = 'a,b'".into(),
        "UPDATE tasks SET writes_files = '{}'".into(),
        "UPDATE tasks SET id = 'renamed' WHERE id = 't'".into(),
        "UPDATE tasks SET name = NULL".into(),
        // Leases: whole or none, and a number that never comes back.
        "UPDATE tasks SET worker = 'w'".into(),
        "UPDATE tasks SET lease_ends_at = 1".into(),
        "UPDATE tasks SET worker = '', lease_ends_at = 1".into(),
        format!("UPDATE tasks SET worker = '{long}', lease_ends_at = 1"),
        "UPDATE tasks SET worker = 'a' || char(0), lease_ends_at = 1".into(),
        "UPDATE tasks SET worker = x'41', lease_ends_at = 1".into(),
        "UPDATE tasks SET worker = 'w', lease_ends_at = 1.5".into(),
        "UPDATE tasks SET worker = 'w', lease_ends_at = 253402300800000000".into(),
        "UPDATE tasks SET fence = 2 WHERE id = 'leased'".into(),
        "INSERT INTO tasks VALUES ('v', '', NULL, '', '[]', 'pending', 'hard', NULL, NULL, NULL, -1, \
         NULL, 0, 0)"
            .into(),
        "UPDATE tasks SET fence = 3.5".into(),
        "UPDATE tasks SET fence = NULL".into(),
        // Dependencies: known, not on itself, not in a circle.
        "INSERT INTO task_dependencies VALUES ('t', 'none')".into(),
        "INSERT INTO task_dependencies VALUES ('u', 'u')".into(),
        "INSERT INTO task_dependencies VALUES ('t', 'w')".into(),
        "UPDATE task_dependencies SET task_id = 't', depends_on = 'w'".into(),
    ];
    for id in ["''", "x'41'", "'a' || char(0)", &format!("'{long}'")] {
        refused.push(format!(
            "INSERT INTO tasks VALUES ({id}, '', NULL, '', '[]', 'pending', 'hard', NULL, NULL, \
             NULL, 0, NULL, 0, 0)"
        ));
    }
    let mut conn = store.raw()?;
    for sql in &refused {
        assert!(conn.batch_execute(sql).is_err(), "stored: {sql}");
    }
    let after = (
        repo.list_tasks()?,
        repo.get_history(&task)?,
        repo.list_session_revisions(&task)?,
    );
    assert_eq!(before, after);
    Ok(())
}

#[test]
fn foreign_key_enforced() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    let none = TaskId::new("none")?;
    let binding = crate::support::binding(turnkeep_repo::BackendType::Claude, "s", None)?;
    assert!(matches!(
        repo.save_session(&none, &binding),
        Err(Error::TaskNotFound { .. })
    ));
    repo.save_session(&task, &binding)?;
    assert!(repo.delete_task(&task)?);
    assert!(
        repo.list_sessions()?.is_empty(),
        "children go with their parent"
    );
    Ok(())
}

#[test]
fn conversation_history_foreign_key() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    let none = TaskId::new("none")?;
    assert!(matches!(
        repo.save_message(&none, Role::User, "x"),
        Err(Error::TaskNotFound { .. })
    ));
    repo.save_message(&task, Role::User, "x")?;
    assert!(repo.delete_task(&task)?);
    assert_eq!(repo.count_history(&task)?, 0);
    let mut conn = store.raw()?;
    let orphan = "INSERT INTO conversation_history VALUES ('t', 1, 'user', 'x', 0, NULL)";
    assert!(conn.batch_execute(orphan).is_err());
    Ok(())
}

/// SQLite's own default is to ignore foreign keys. The next task of that name must not find
/// another one's history.
#[test]
fn nothing_is_left_of_a_task_deleted_by_another_program() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    repo.save_message(&task, Role::User, "before")?;
    let binding = crate::support::binding(turnkeep_repo::BackendType::Claude, "s", None)?;
    repo.save_session(&task, &binding)?;
    repo.save_task(&turnkeep_repo::NewTask::new("w".parse()?, "W").depends_on([task.clone()]))?;
    store.execute("PRAGMA foreign_keys = OFF; DELETE FROM tasks WHERE id = 't'")?;
    crate::support::save_task(&repo, "t")?;
    assert_eq!(repo.count_history(&task)?, 0);
    assert_eq!(repo.find_session(&task)?, None);
    assert!(repo.list_session_revisions(&task)?.is_empty());
    assert!(repo.get_task(&"w".parse()?)?.depends_on.is_empty());
    Ok(())
}

/// Whoever changes a binding, the one before can be found again.
#[test]
fn a_binding_changed_by_another_program_is_on_record() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    let binding = |id| crate::support::binding(turnkeep_repo::BackendType::Claude, id, None);
    repo.save_session(&task, &binding("first")?)?;
    store.execute("UPDATE sessions SET session_id = 'second', updated_at = updated_at + 1")?;
    store.execute("INSERT OR REPLACE INTO sessions VALUES ('t', 'codex', 'third', NULL, 5, 6)")?;
    repo.save_session(&task, &binding("fourth")?)?;
    store.execute("DELETE FROM sessions")?;
    let revisions = repo.list_session_revisions(&task)?;
    let seen: Vec<_> = revisions
        .iter()
        .map(|r| {
            (
                r.session_id.as_str(),
                r.retired_reason.as_deref().unwrap_or("open"),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("first", "replaced"),
            ("second", "replaced"),
            ("third", "replaced"),
            ("fourth", "removed")
        ]
    );
    assert!(revisions[3].retired_at.is_some());
    Ok(())
}

/// A copy of a store writes the revisions as they are, then the binding that is the open one.
#[test]
fn a_record_that_comes_first_is_not_written_again() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    store.execute(
        "INSERT INTO session_revisions VALUES ('t', 1, 'codex', 's', '/a', 1, 2, 'replaced'); \
         INSERT INTO session_revisions VALUES ('t', 2, 'codex', 's', NULL, 3, NULL, NULL); \
         INSERT INTO sessions VALUES ('t', 'codex', 's', NULL, 1, 5)",
    )?;
    let revisions = repo.list_session_revisions(&task)?;
    assert_eq!(revisions.len(), 2);
    assert_eq!(revisions[1].saved_at.timestamp_micros(), 3);
    assert_eq!(revisions[1].retired_at, None);

    // One that differs in anything is recorded.
    for (at, columns) in [
        "'claude', 's', NULL",
        "'claude', 'u', NULL",
        "'claude', 'u', '/a'",
    ]
    .iter()
    .enumerate()
    {
        store.execute(&format!(
            "INSERT OR REPLACE INTO sessions VALUES ('t', {columns}, 1, 6)"
        ))?;
        let revisions = repo.list_session_revisions(&task)?;
        assert_eq!(revisions.len(), 3 + at);
        assert_eq!(
            revisions[1 + at].retired_reason.as_deref(),
            Some("replaced")
        );
    }
    Ok(())
}

#[test]
fn a_damaged_row_in_a_list_is_named() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, _) = store.open_with_task("good")?;
    let bad = crate::support::save_task(&repo, "bad")?;
    let binding = crate::support::binding(turnkeep_repo::BackendType::Claude, "s", None)?;
    repo.save_session(&bad, &binding)?;
    store.execute(
        "UPDATE tasks SET name = CAST(x'ff' AS TEXT) WHERE id = 'bad'; \
         UPDATE sessions SET session_id = CAST(x'ff' AS TEXT)",
    )?;
    for (operation, error) in [
        ("list_tasks", repo.list_tasks().unwrap_err()),
        ("ready_tasks", repo.ready_tasks().unwrap_err()),
        ("list_sessions", repo.list_sessions().unwrap_err()),
    ] {
        assert_eq!(
            error.to_string(),
            format!("{operation}: the row of task `bad` is damaged")
        );
        assert!(matches!(error, Error::Corrupt { .. }));
    }
    Ok(())
}
