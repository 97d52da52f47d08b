//! Damaged rows and files, refused statements and full disks. The unit tests of the store cover
//! faults that need private access.

use turnkeep_repo::{BackendType, ErrorKind, HistoryPage, Role, WorkerId};

use super::TempStore;
use crate::sql::Sql as _;
use crate::support::*;

/// Rows that the constraints forbid, stored by a program that turned them off.
#[test]
fn a_row_that_cannot_be_read_is_named() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for content in ["1", "2"] {
        repo.save_message(&task, Role::User, content)?;
    }
    store.execute(
        "PRAGMA ignore_check_constraints = ON; \
         INSERT INTO conversation_history VALUES ('t', 3, 'robot', 0, NULL, 'x', NULL, NULL)",
    )?;
    store.execute(
        "INSERT INTO conversation_history VALUES ('t', 4, 'user', 0, NULL, CAST(x'ff' AS TEXT), NULL, NULL); \
         INSERT INTO conversation_history VALUES ('t', 5, 'user', 0, NULL, 'good', NULL, NULL)",
    )?;
    let error = repo.get_history(&task).unwrap_err();
    assert_eq!(
        error.to_string(),
        "get_history: turn 3 of task `t` is damaged"
    );
    assert!(matches!(error.kind(), ErrorKind::Corrupt));
    let chain = format!("{:#}", anyhow::Error::from(error));
    assert!(chain.contains("invalid role: is none of user"), "{chain}");

    let page = |after| repo.get_history_page(&task, HistoryPage::new(10).after(place(after)));
    assert_eq!(
        page(3).unwrap_err().to_string(),
        "get_history_page: turn 4 of task `t` is damaged"
    );
    assert_eq!(page(4)?.len(), 1, "the other rows can be read");
    assert_eq!(repo.count_history(&task)?, 5);
    Ok(())
}

/// Ranges that no seq is in, or more than there are.
#[test]
fn absurd_retractions_hide_what_there_is() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for content in ["1", "2", "3"] {
        repo.save_message(&task, Role::User, content)?;
    }
    store.execute(&format!(
        "DROP TRIGGER history_retractions_append_only; PRAGMA ignore_check_constraints = ON; \
         INSERT INTO history_retractions VALUES ('t', {}, 5, 1, 0), ('t', 2, {}, {}, 0), ('t', 3, 2, {}, 0)",
        i64::MAX - 1, i64::MIN, i64::MAX, i64::MAX
    ))?;
    assert_eq!(repo.get_history(&task)?.len(), 2);
    assert_eq!(repo.get_history_last(&task, u32::MAX)?.len(), 2);
    assert_eq!(repo.count_history(&task)?, 2);
    let page = HistoryPage::new(u32::MAX);
    assert_eq!(repo.get_history_page(&task, page)?.len(), 2);
    assert_eq!(repo.hide_after(&task, None)?, 2);
    Ok(())
}

/// Such a fence cannot be incremented, which would fail the claim of all tasks in one statement.
#[test]
fn an_invalid_fence_does_not_block_other_tasks() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, _) = open_with_task(&store, "t")?;
    let other = save_task(&repo, "u")?;
    store.execute(
        "PRAGMA ignore_check_constraints = ON; UPDATE tasks SET fence = 1.5 WHERE id = 't'",
    )?;
    let worker = WorkerId::new("w")?;
    let claims = repo.claim_ready(&worker, 9, std::time::Duration::from_secs(60))?;
    let given: Vec<_> = claims.iter().map(|claim| &claim.task.id).collect();
    assert_eq!(given, [&other]);
    Ok(())
}

/// A missing turn is an error, not the end of the history.
#[test]
fn a_missing_turn_is_named() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for content in ["1", "2", "3", "4"] {
        repo.save_message(&task, Role::User, content)?;
    }
    store.execute(
        "DROP TRIGGER conversation_history_no_delete; \
         DELETE FROM conversation_history WHERE seq = 2",
    )?;
    let error = repo.get_history(&task).unwrap_err();
    assert_eq!(
        error.to_string(),
        "get_history: turn 2 of task `t` is damaged"
    );
    let chain = format!("{:#}", anyhow::Error::from(error));
    assert!(chain.ends_with("in its place is turn 3"), "{chain}");
    assert!(matches!(
        repo.get_history_last(&task, 3).unwrap_err().kind(),
        ErrorKind::Corrupt
    ));
    assert_eq!(repo.get_history_last(&task, 2)?.len(), 2);
    let page = HistoryPage::new(2).after(place(2));
    assert_eq!(repo.get_history_page(&task, page)?.len(), 2);

    // Before hidden turns no later one tells.
    repo.hide_after(&task, place(2))?;
    repo.save_message(&task, Role::User, "5")?;
    let error = repo.get_history(&task).unwrap_err();
    assert_eq!(
        error.to_string(),
        "get_history: turn 2 of task `t` is damaged"
    );
    assert_eq!(repo.get_history_last(&task, 1)?[0].content, "5");
    Ok(())
}

#[test]
fn a_damaged_row_in_a_list_is_named() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, _) = open_with_task(&store, "good")?;
    let bad = save_task(&repo, "bad")?;
    let binding = binding(BackendType::Claude, "s", None)?;
    repo.save_session(&bad, &binding)?;
    store.execute(
        "UPDATE tasks SET name = CAST(x'ff' AS TEXT) WHERE id = 'bad'; \
         UPDATE sessions SET session_id = CAST(x'ff' AS TEXT)",
    )?;
    for (operation, error) in [
        ("get_tasks", repo.get_tasks().unwrap_err()),
        ("ready_tasks", repo.ready_tasks().unwrap_err()),
        ("list_sessions", repo.list_sessions().unwrap_err()),
    ] {
        assert_eq!(
            error.to_string(),
            format!("{operation}: the row of task `bad` is damaged")
        );
        assert!(matches!(error.kind(), ErrorKind::Corrupt));
    }
    Ok(())
}

#[test]
fn a_damaged_file_is_corrupt() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for _ in 0..100 {
        repo.save_message(&task, Role::User, &"x".repeat(2_000))?;
    }
    drop(repo);
    let mut bytes = std::fs::read(store.path())?;
    let half = bytes.len() / 2;
    bytes[half..].fill(0xa5);
    std::fs::write(store.path(), &bytes)?;
    let repo = store.open()?;
    let error = repo.get_history(&task).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
    assert_eq!(error.to_string(), "get_history: task `t` is damaged");
    Ok(())
}

#[test]
fn a_refusal_by_another_programs_trigger_is_reported() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    store.execute(
        "CREATE TRIGGER theirs BEFORE INSERT ON conversation_history \
         BEGIN SELECT RAISE(ABORT, 'not on my watch'); END",
    )?;
    let error = repo.save_message(&task, Role::User, "x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "save_message: the database refused task `t`"
    );
    assert!(matches!(error.kind(), ErrorKind::Database));
    assert!(format!("{:#}", anyhow::Error::from(error)).contains("not on my watch"));
    Ok(())
}

/// When the file size limit is reached, the write fails and earlier writes survive. SQLite reports
/// a disk I/O error.
#[test]
#[cfg(unix)]
fn a_reached_size_limit_is_a_full_disk() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    drop(repo);
    // 2,000 blocks of 512 or 1,024 bytes, depending on the shell. SIGXFSZ is ignored, so that the
    // write fails instead of the process.
    let limited = "trap '' XFSZ; ulimit -f 2000; exec 2>&1";
    let mut command = in_shell(limited, &store.worker());
    let mut worker = Worker::spawn(command.args(["append", "t", &"x".repeat(1_000), "0"]))?;
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
        told.contains("save_message: no space left to store task `t`"),
        "{told}"
    );
    assert!(told.contains("file too large"), "{told}");
    drop(worker);
    assert_eq!(
        store.open()?.count_history(&task)?,
        failure as i64,
        "no false acknowledgement"
    );
    Ok(())
}

/// SIGXFSZ ends a process like SIGKILL.
#[test]
#[cfg(unix)]
fn a_process_killed_by_its_size_limit_loses_no_write() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, _) = open_with_task(&store, "t")?;
    drop(repo);
    let mut command = in_shell("ulimit -f 2000; exec 2>&1", &store.worker());
    let mut worker = Worker::spawn(command.args(["append", "t", &"x".repeat(1_000), "0"]))?;
    let mut acknowledged = 0;
    while let Some(line) = worker.line()? {
        assert!(line.starts_with("ack "), "{line}");
        acknowledged += 1;
    }
    drop(worker);
    assert!(acknowledged > 0, "some writes went well");
    let repo = store.open()?;
    assert_eq!(repo.count_history(&repo.get_tasks()?[0].id)?, acknowledged);
    Ok(())
}

/// The limit is reached at each write of the creation. The error names the full disk, not its
/// consequences.
#[test]
#[cfg(unix)]
fn a_size_limit_during_creation_is_a_full_disk() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    // From one block of 512 or 1,024 bytes up to the size of the schema.
    for blocks in [1, 8, 16, 32, 64, 96] {
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec 2>&1");
        let mut worker = Worker::spawn(in_shell(&limited, &store.worker()).arg("open"))?;
        worker.go();
        let mut told = String::new();
        while let Some(line) = worker.line()? {
            told += &line;
        }
        assert!(
            told.contains("open: no space left"),
            "{blocks} blocks: {told}"
        );
    }
    assert!(store.open()?.get_tasks()?.is_empty());
    Ok(())
}
