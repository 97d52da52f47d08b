//! Who waits for whom at the one lock of a file.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use turnkeep_repo::{Error, Role};

use super::TempStore;
use crate::support::*;

/// A file has one writer at a time, whatever is written.
#[test]
fn writers_of_different_tasks_wait_for_each_other() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (first, task) = open_with_task(&store, "t")?;
    let other = save_task(&first, "other")?;
    let repo = store.open_with(Options::new().timeout(Duration::from_millis(300)))?;
    let mut holder = store.raw()?;
    holder.batch_execute("BEGIN IMMEDIATE; UPDATE tasks SET name = 'changed' WHERE id = 't'")?;
    let error = repo.save_message(&other, Role::User, "x").unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    drop(holder);
    assert_eq!(repo.save_message(&other, Role::User, "x")?, 1);
    assert_eq!(repo.get_task(&task)?.name, "A task");
    Ok(())
}
