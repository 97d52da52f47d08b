//! Constraints and triggers against SQL from other programs, including the bypasses that only
//! SQLite has.

use turnkeep_repo::{BackendType, NewTask, Role};

use super::TempStore;
use crate::sql::{Sql as _, refuses};
use crate::support::*;

/// What a row of `tasks` needs besides its id.
const TASK: &str = "name, prompt, writes_files, status, failure_mode, created_at, updated_at, status_changed_at, last_active_at";
const VALUES: &str = "'', '', '[]', 'pending', 'hard', 0, 0, 0, 0";

/// `REPLACE` deletes the row in its way, whatever the index is that finds it, and fires no delete trigger.
#[test]
fn a_turn_cannot_be_replaced() -> anyhow::Result<()> {
    let turn = "INSERT OR REPLACE INTO conversation_history";
    let columns = "task_id, seq, role, content, timestamp";
    refuses::<TempStore>([
        // By seq, by key, by each name of the rowid.
        format!("{turn} VALUES ('t', 1, 'user', 0, NULL, 'other', NULL, NULL)"),
        format!("{turn} VALUES ('t', 3, 'user', 0, 'k', 'other', NULL, NULL)"),
        format!("{turn} (rowid, {columns}) VALUES (1, 't', 3, 'user', 'x', 0)"),
        format!("{turn} (oid, {columns}) VALUES (1, 't', 3, 'user', 'x', 0)"),
        format!("{turn} (_rowid_, {columns}) VALUES (1, 't', 3, 'user', 'x', 0)"),
        // What a rowid reads as in the trigger if SQLite chooses it.
        format!("{turn} (rowid, {columns}) VALUES (-1, 't', 3, 'user', 'x', 0)"),
        "UPDATE OR REPLACE conversation_history SET rowid = 1 WHERE seq = 2".into(),
        "UPDATE OR REPLACE conversation_history SET seq = 1 WHERE seq = 2".into(),
    ])
}

/// A replaced task would take along everything under it.
#[test]
fn a_task_cannot_be_replaced() -> anyhow::Result<()> {
    let task = "INSERT OR REPLACE INTO tasks";
    refuses::<TempStore>([
        format!("{task} SELECT * FROM tasks WHERE id = 't'"),
        format!("{task} (rowid, id, {TASK}) VALUES (1, 'v', {VALUES})"),
        format!("{task} (oid, id, {TASK}) VALUES (1, 'v', {VALUES})"),
        format!("{task} (rowid, id, {TASK}) VALUES (-1, 'v', {VALUES})"),
        "UPDATE OR REPLACE tasks SET id = 't' WHERE id = 'u'".into(),
        "UPDATE OR REPLACE tasks SET rowid = 1 WHERE id = 'u'".into(),
        "UPDATE OR REPLACE tasks SET oid = 1 WHERE id = 'u'".into(),
        "UPDATE OR REPLACE tasks SET \"_RowId_\" = 1 WHERE id = 'u'".into(),
        "UPDATE OR REPLACE tasks SET (name, rowid) = ('', 1) WHERE id = 'u'".into(),
    ])
}

#[test]
fn a_revision_cannot_be_replaced() -> anyhow::Result<()> {
    refuses::<TempStore>([
        "INSERT OR REPLACE INTO session_revisions VALUES ('t', 1, 'x', 'x', NULL, NULL, NULL, 1, 0, NULL, NULL)"
            .into(),
        "UPDATE OR REPLACE session_revisions SET revision = 2".into(),
    ])
}

#[test]
fn a_retraction_cannot_be_replaced() -> anyhow::Result<()> {
    refuses::<TempStore>([
        "INSERT OR REPLACE INTO history_retractions VALUES ('t', 1, 0, 2, 0)".into(),
        "UPDATE OR REPLACE history_retractions SET number = 2".into(),
    ])
}

#[test]
fn a_recording_cannot_be_replaced() -> anyhow::Result<()> {
    let columns = "task_id, number, \"offset\", length, checksum, data";
    refuses::<TempStore>([
        "INSERT OR REPLACE INTO recordings VALUES ('t', 3, 'b', 0, 0)".into(),
        "UPDATE OR REPLACE recordings SET number = 3 WHERE number = 1".into(),
        "INSERT OR REPLACE INTO recording_chunks VALUES ('t', 3, 2, 1, 0, x'01')".into(),
        format!(
            "INSERT OR REPLACE INTO recording_chunks (rowid, {columns}) VALUES (1, 't', 1, 0, 1, 0, x'01')"
        ),
        format!(
            "INSERT OR REPLACE INTO recording_chunks (rowid, {columns}) VALUES (-1, 't', 1, 0, 1, 0, x'01')"
        ),
        "UPDATE OR REPLACE recording_chunks SET \"offset\" = 0".into(),
    ])
}

/// The declared type of a column only suggests one.
#[test]
fn values_of_the_wrong_type_are_refused() -> anyhow::Result<()> {
    refuses::<TempStore>([
        format!("INSERT INTO tasks (id, {TASK}) VALUES (x'41', {VALUES})"),
        "UPDATE tasks SET name = x'41'".into(),
        "UPDATE tasks SET agent_role = x'41'".into(),
        "UPDATE tasks SET writes_files = x'5b5d'".into(),
        "UPDATE tasks SET writes_files = x'5b2261225d'".into(),
        "UPDATE tasks SET result = x'41'".into(),
        "UPDATE tasks SET worker = x'41', lease_ends_at = 1, lease_length = 1".into(),
        "UPDATE tasks SET worker = 'w', lease_ends_at = 1.5, lease_length = 1".into(),
        "UPDATE tasks SET worker = 'w', lease_ends_at = 1, lease_length = 1.5".into(),
        "UPDATE tasks SET fence = 3.5".into(),
        "UPDATE tasks SET fence = 'x'".into(),
        "UPDATE tasks SET created_at = x'31'".into(),
        "UPDATE tasks SET updated_at = 1.5".into(),
        "UPDATE sessions SET session_id = x'41'".into(),
        "UPDATE sessions SET working_dir = x'41'".into(),
        "UPDATE sessions SET session_id = 'u', updated_at = 1.5".into(),
        "UPDATE sessions SET config_dir = x'41'".into(),
        "UPDATE sessions SET metadata = x'7b7d'".into(),
        "UPDATE tasks SET metadata = x'7b7d'".into(),
        "UPDATE tasks SET metadata = '{a:1}'".into(),
        "UPDATE tasks SET metadata = '{\"a\":\"' || hex(zeroblob(524285)) || '\"}'".into(),
        "UPDATE tasks SET not_before = 1.5".into(),
        "UPDATE tasks SET last_active_at = x'31'".into(),
        "INSERT INTO history_retractions VALUES ('t', 2, 0.5, 2, 0)".into(),
        "INSERT INTO history_retractions VALUES ('t', 2, 0, 2, x'31')".into(),
        "INSERT INTO history_retractions VALUES ('t', 2, x'31', 2, 0)".into(),
        "INSERT INTO history_retractions VALUES ('t', x'32', 0, 2, 0)".into(),
        "INSERT INTO recordings VALUES ('u', 1.5, 'b', 0, 0)".into(),
        "INSERT INTO recordings VALUES ('u', x'31', 'b', 0, 0)".into(),
        "INSERT INTO recordings VALUES ('u', 1, x'41', 0, 0)".into(),
        "INSERT INTO recordings VALUES ('u', 1, 'b' || char(0), 0, 0)".into(),
        "INSERT INTO recordings VALUES ('u', 1, 'b', 0, 0.5)".into(),
        "INSERT INTO recording_chunks VALUES ('t', 1, 0.5, 1, 0, x'00')".into(),
        "INSERT INTO recording_chunks VALUES ('t', 1, 0, 1.5, 0, x'00')".into(),
        "INSERT INTO recording_chunks VALUES ('t', 1, 0, 1, x'31', x'00')".into(),
        "INSERT INTO recording_chunks VALUES ('t', 1, 0, 1, 0, 'x')".into(),
        "INSERT INTO recording_chunks VALUES ('t', 1, 0, 1, 0, 0)".into(),
        "INSERT INTO removed_sessions VALUES ('b', 's', 't', 0.5)".into(),
        "INSERT INTO removed_sessions VALUES ('b', 's', x'41', 0)".into(),
        "INSERT INTO imported_files VALUES ('h', '/', 0, 0, '', 0, 0, 0, 'b', NULL)".into(),
        "INSERT INTO imported_files VALUES ('h', x'2f', 0, 'x', '', 0, 0, 0, 'b', NULL)".into(),
        "INSERT INTO imported_files VALUES ('h', x'2f', 0, 0, x'31', 0, 0, 0, 'b', NULL)".into(),
        "INSERT INTO imported_files VALUES ('h', x'2f', 1, 0, '', 0, 0.5, 0, 'b', NULL)".into(),
        "UPDATE sessions SET config_dir = 'a' || char(0)".into(),
        "INSERT INTO session_revisions VALUES ('u', 1.5, 'x', 'x', NULL, NULL, NULL, 1, 0, NULL, NULL)".into(),
        "INSERT INTO session_revisions VALUES ('u', 1, 'x', 'x', NULL, NULL, NULL, 1, 0.5, NULL, NULL)".into(),
        "INSERT INTO session_revisions VALUES ('u', 1, 'x', 'x', NULL, NULL, NULL, 1, 0, 1, x'41')".into(),
        "INSERT INTO conversation_history VALUES ('t', 2.5, 'user', 0, NULL, 'x', NULL, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', x'33', 'user', 0, NULL, 'x', NULL, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, x'75736572', 0, NULL, 'x', NULL, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, x'00', NULL, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 1.5, NULL, 'x', NULL, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', x'31', NULL, 'x', NULL, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, x'41', 'x', NULL, NULL)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, 'x', NULL, 1.5)".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, 'x', NULL, 'x')".into(),
        "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, 'x', NULL, x'31')".into(),
        // Ids with a NUL character.
        format!("INSERT INTO tasks (id, {TASK}) VALUES ('a' || char(0), {VALUES})"),
        "UPDATE tasks SET worker = 'a' || char(0), lease_ends_at = 1, lease_length = 1".into(),
        "UPDATE sessions SET session_id = 'a' || char(0)".into(),
        "INSERT INTO conversation_history \
         VALUES ('t', 3, 'user', 0, 'a' || char(0), 'x', NULL, NULL)"
            .into(),
    ])
}

/// SQLite ignores foreign keys by default. A later task with the same id must not get the history
/// of the deleted one.
#[test]
fn a_task_deleted_by_another_program_leaves_no_rows() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "before")?;
    let binding = binding(BackendType::Claude, "s", None)?;
    repo.save_session(&task, &binding)?;
    repo.save_task(&NewTask::new("w".parse()?, "W").depends_on([task.clone()]))?;
    store.execute(
        "INSERT INTO recordings VALUES ('t', 1, 'a', 0, 0); \
         INSERT INTO recording_chunks VALUES ('t', 1, 0, 2, 0, x'00'), ('t', 1, 2, 2, 0, x'00'); \
         PRAGMA foreign_keys = OFF; DELETE FROM tasks WHERE id = 't'",
    )?;
    save_task(&repo, "t")?;
    // A chunk that was left would be in the way.
    store.execute(
        "INSERT INTO recordings VALUES ('t', 1, 'a', 0, 0); \
         INSERT INTO recording_chunks VALUES ('t', 1, 0, 1, 0, x'00')",
    )?;
    assert_eq!(repo.count_history(&task)?, 0);
    assert_eq!(repo.find_session(&task)?, None);
    assert!(repo.list_session_revisions(&task)?.is_empty());
    assert!(repo.get_task(&"w".parse()?)?.depends_on.is_empty());
    Ok(())
}

/// A replaced row fires no delete trigger.
#[test]
fn a_binding_replaced_by_another_program_is_on_record() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let binding = |id| binding(BackendType::Claude, id, None);
    repo.save_session(&task, &binding("first")?)?;
    store.execute("UPDATE sessions SET session_id = 'second', updated_at = updated_at + 1")?;
    store.execute(
        "INSERT OR REPLACE INTO sessions VALUES ('t', 'codex', 'third', NULL, NULL, NULL, 5, 6)",
    )?;
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

#[test]
fn a_replacement_does_not_repeat_a_recorded_revision() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    store.execute(
        "INSERT INTO session_revisions VALUES ('t', 1, 'codex', 's', NULL, NULL, NULL, 1, 3, NULL, NULL); \
         INSERT INTO sessions VALUES ('t', 'codex', 's', NULL, NULL, NULL, 1, 3); \
         INSERT OR REPLACE INTO sessions VALUES ('t', 'codex', 's', NULL, NULL, NULL, 2, 3)",
    )?;
    assert_eq!(repo.list_session_revisions(&task)?.len(), 1);

    // A revision that differs in any column is recorded.
    for (at, columns) in [
        "'claude', 's', NULL, NULL, NULL",
        "'claude', 'u', NULL, NULL, NULL",
        "'claude', 'u', '/a', NULL, NULL",
        "'claude', 'u', '/a', '/c', NULL",
        "'claude', 'u', '/a', '/c', '{}'",
    ]
    .iter()
    .enumerate()
    {
        store.execute(&format!(
            "INSERT OR REPLACE INTO sessions VALUES ('t', {columns}, 1, 7)"
        ))?;
        let revisions = repo.list_session_revisions(&task)?;
        assert_eq!(revisions.len(), 2 + at);
        assert_eq!(revisions[at].retired_reason.as_deref(), Some("replaced"));
    }
    Ok(())
}
