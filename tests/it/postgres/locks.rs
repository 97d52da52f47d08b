//! Lock waits on a server.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use turnkeep_repo::{ErrorKind, Role, StatusUpdate};

use super::TempDatabase;
use crate::support::*;

/// Only writers of the same task do.
#[test]
fn writers_of_different_tasks_do_not_wait_for_each_other() -> anyhow::Result<()> {
    let store = TempDatabase::new()?;
    let (first, task) = open_with_task(&store, "t")?;
    let other = save_task(&first, "other")?;
    let mut holder = PgConnection::establish(&store.url())?;
    holder.batch_execute("BEGIN; UPDATE tasks SET name = 'changed' WHERE id = 't'")?;

    assert_eq!(first.save_message(&other, Role::User, "x")?, 1);
    first.save_session(&other, &binding("claude".parse()?, "s", None)?)?;
    first.update_task_status(&other, StatusUpdate::completed("done"))?;

    let repo = store.open_with(Options::new().timeout(Duration::from_millis(300)))?;
    let error = repo.save_message(&task, Role::User, "x").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    drop(holder);
    assert_eq!(repo.save_message(&task, Role::User, "x")?, 1);
    assert_eq!(repo.get_task(&task)?.name, "A task");
    Ok(())
}
