//! Rows that can't be copied.

use turnkeep_admin::copy;
use turnkeep_repo::{ErrorKind, Repo, Role};

use super::scene::fill;
use super::{Place, TempStore, copy_all, id, written};
use crate::sql::Sql as _;
use crate::support::{Harness as _, save_task};

#[track_caller]
fn corrupt(from: &Repo, to: &Repo, subject: &str, cause: &str) {
    let error = copy(from, to, |_| ()).unwrap_err();
    assert!(
        matches!(error.store_kind(), Some(ErrorKind::Corrupt)),
        "{error:?}"
    );
    assert_eq!(error.to_string(), format!("copy: {subject} is damaged"));
    let chain = format!("{:#}", anyhow::Error::from(error));
    assert!(chain.contains(cause), "{chain}");
}

/// SQLite takes half of a surrogate pair, PostgreSQL does not. The other tasks before it are copied.
#[cfg(feature = "postgres")]
#[test]
fn metadata_that_the_other_engine_refuses_are_told_without_them() -> anyhow::Result<()> {
    let (from, to) = (TempStore::new()?, Place::server()?);
    let source = from.open()?;
    for task in ["a", "b"] {
        save_task(&source, task)?;
    }
    from.execute(r#"UPDATE tasks SET metadata = '{"secret":"\ud800"}' WHERE id = 'b'"#)?;
    let destination = to.open()?;
    let error = copy(&source, &destination, |_| ()).unwrap_err();
    let mut shown = format!("{error} {error:?}");
    shown += &format!("{:#}", anyhow::Error::from(error));
    assert!(!shown.contains("secret"), "{shown}");
    assert!(destination.get_tasks()?.is_empty(), "one transaction");
    from.execute("UPDATE tasks SET metadata = '{}' WHERE id = 'b'")?;
    copy_all(&source, &destination)?;
    Ok(())
}

/// Rows that the constraints forbid, stored by a program that turned them off.
#[test]
fn a_row_that_cannot_be_read_is_named() -> anyhow::Result<()> {
    const UNCHECKED: &str = "PRAGMA ignore_check_constraints = ON;";
    for (damage, subject, cause) in [
        (
            "INSERT INTO conversation_history VALUES ('s0', 9, 'robot', 0, NULL, 'x', NULL, NULL)",
            "turn 9 of task `s0` at",
            "invalid role",
        ),
        (
            "INSERT INTO conversation_history VALUES ('s0', 9, 'user', 0, NULL, CAST(x'ff' AS TEXT), NULL, NULL)",
            "turn 9 of task `s0` at",
            "utf-8",
        ),
        (
            "DROP TRIGGER conversation_history_no_update; \
             UPDATE conversation_history SET content = 'x' WHERE task_id = 's0' AND seq = 2",
            "turn 2 of task `s0` at",
            "its checksum is that of something else",
        ),
        (
            "DROP TRIGGER conversation_history_no_delete; \
             DELETE FROM conversation_history WHERE task_id = 's0' AND seq = 2",
            "turn 2 of task `s0` at",
            "it is missing",
        ),
        (
            "UPDATE tasks SET writes_files = 'x' WHERE id = 's4'",
            "task `s4` at",
            "is not a JSON array",
        ),
        (
            "UPDATE sessions SET session_id = '' WHERE task_id = 's0'",
            "task `s0` at",
            "invalid session id",
        ),
        (
            "DROP TRIGGER session_revisions_no_delete; \
             DELETE FROM session_revisions WHERE task_id = 's1' AND revision = 2",
            "task `s1` at",
            "session revision 2 is missing",
        ),
        (
            "UPDATE session_revisions SET retired_at = 0, retired_reason = 'x' \
             WHERE task_id = 's0'",
            "task `s0` at",
            "not the one on record",
        ),
        (
            "DROP TRIGGER session_revisions_no_update; \
             UPDATE session_revisions SET first_seq = 99 WHERE task_id = 's1' AND revision = 2",
            "task `s1` at",
            "its session revision 2 begins with turn 99, but there are",
        ),
        (
            "DROP TRIGGER history_retractions_no_delete; \
             DELETE FROM history_retractions WHERE task_id = 's0' AND number = 1",
            "task `s0` at",
            "its retraction 1 is missing",
        ),
    ] {
        let from = TempStore::new()?;
        let source = from.open()?;
        fill(&source)?;
        from.execute("DROP TRIGGER tasks_files_stay_texts")?;
        from.execute(&format!("{UNCHECKED}{damage}"))?;
        let destination = Repo::open_in_memory()?;
        corrupt(
            &source,
            &destination,
            &format!("{subject} the source"),
            cause,
        );
    }

    let (source, to) = (Repo::open_in_memory()?, TempStore::new()?);
    let destination = to.open()?;
    fill(&source)?;
    copy_all(&source, &destination)?;
    source.save_message(&id("s0"), Role::User, "more")?;
    to.execute(
        "DROP TRIGGER conversation_history_no_update; PRAGMA ignore_check_constraints = ON; \
         UPDATE conversation_history SET role = 'robot' WHERE task_id = 's0' AND seq = 3",
    )?;
    corrupt(
        &source,
        &destination,
        "turn 3 of task `s0` at the destination",
        "invalid role",
    );
    Ok(())
}

/// A server checks more than a file does, but what is missing is missing there too.
#[cfg(feature = "postgres")]
#[test]
fn a_row_that_a_server_lacks_is_named() -> anyhow::Result<()> {
    let from = Place::server()?;
    let source = from.open()?;
    fill(&source)?;
    from.execute(
        "ALTER TABLE conversation_history DISABLE TRIGGER USER; \
         DELETE FROM conversation_history WHERE task_id = 's0' AND seq = 2; \
         ALTER TABLE conversation_history DROP CONSTRAINT conversation_history_role_check; \
         UPDATE conversation_history SET role = 'robot' WHERE task_id = 'a\u{1}' AND seq = 8",
    )?;
    let destination = Repo::open_in_memory()?;
    // A task comes after those it waits for.
    let missing = "turn 2 of task `s0` at the source";
    corrupt(&source, &destination, missing, "it is missing");
    source.delete_task(&id("s0"))?;
    let robot = "turn 8 of task `a␁` at the source";
    corrupt(&source, &destination, robot, "invalid role");
    Ok(())
}

/// An escape that has no meaning is copied as what it is read as, and so is a U+0000 that another
/// program stored as it is.
fn texts_of_other_programs_keep_their_meaning(to: &Place) -> anyhow::Result<()> {
    let from = Place::file()?;
    let (source, destination) = (from.open()?, to.open()?);
    save_task(&source, "t")?;
    from.execute(
        "INSERT INTO conversation_history VALUES \
         ('t', 1, 'user', 0, NULL, 'a' || char(16) || 'b', NULL, NULL), \
         ('t', 2, 'user', 0, NULL, 'a' || char(0) || 'b', NULL, NULL); \
         UPDATE tasks SET writes_files = '[ \"a\" , \"\\u00fc\" ]'",
    )?;
    copy_all(&source, &destination)?;
    assert_eq!(written(&copy_all(&source, &destination)?), [0; 9]);
    let history = destination.get_history(&id("t"))?;
    assert_eq!(history[0].content, "a\u{10}b");
    assert_eq!(history[1].content, "a\0b");
    Ok(())
}

#[test]
fn texts_of_other_programs_keep_their_meaning_in_a_file() -> anyhow::Result<()> {
    texts_of_other_programs_keep_their_meaning(&Place::file()?)
}

#[cfg(feature = "postgres")]
#[test]
fn texts_of_other_programs_keep_their_meaning_on_a_server() -> anyhow::Result<()> {
    texts_of_other_programs_keep_their_meaning(&Place::server()?)
}
