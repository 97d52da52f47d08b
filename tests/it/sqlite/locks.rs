//! Waits for the write lock of a file.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use turnkeep_repo::{ErrorKind, Role};

use super::TempStore;
use crate::sql::Sql as _;
use crate::support::*;

/// SQLite allows one writer per file.
#[test]
fn writers_of_different_tasks_wait_for_each_other() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (first, task) = open_with_task(&store, "t")?;
    let other = save_task(&first, "other")?;
    let repo = store.open_with(Options::new().timeout(Duration::from_millis(300)))?;
    let mut holder = store.raw()?;
    holder.batch_execute("BEGIN IMMEDIATE; UPDATE tasks SET name = 'changed' WHERE id = 't'")?;
    let error = repo.save_message(&other, Role::User, "x").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    drop(holder);
    assert_eq!(repo.save_message(&other, Role::User, "x")?, 1);
    assert_eq!(repo.get_task(&task)?.name, "A task");
    Ok(())
}

/// A store in rollback mode can't be switched to WAL during a read. Opening waits for the lock,
/// like any other lock.
#[test]
fn switching_to_wal_waits_for_readers() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    drop(open_with_task(&store, "t")?);
    store.execute("PRAGMA journal_mode = DELETE")?;
    let mut reader = store.raw()?;
    reader.batch_execute("BEGIN; SELECT count(*) FROM tasks")?;
    let timeout = Duration::from_millis(150);
    let error = store
        .open_with(Options::new().timeout(timeout))
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Busy { timeout: t } if *t == timeout),
        "{error:?}"
    );
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| store.open());
        drop(reader);
        assert_eq!(
            opening.join().unwrap().unwrap().get_tasks().unwrap().len(),
            1
        );
    });
    Ok(())
}
