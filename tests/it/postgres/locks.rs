//! Lock waits on a server.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use turnkeep_repo::{Error, ErrorKind, Role, StatusUpdate, TaskId, TaskStatus};

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

/// The server ends one of them. Its caller runs it again.
#[test]
fn one_of_two_transactions_that_wait_for_each_other_is_busy() -> anyhow::Result<()> {
    let store = TempDatabase::new()?;
    let (repo, a) = open_with_task(&store, "a")?;
    let b = save_task(&repo, "b")?;
    let both_have_begun = Barrier::new(2);
    let write_both = |first: &TaskId, second: &TaskId, is_repeat: bool| {
        repo.repo().transaction(|tx| -> Result<(), Error> {
            tx.save_message(first, Role::User, "first")?;
            if !is_repeat {
                both_have_begun.wait();
            }
            let second = tx.save_message(second, Role::User, "second");
            if let Err(error) = &second {
                let ended = tx.save_message(first, Role::User, "more").unwrap_err();
                assert_eq!(ended.kind(), error.kind());
            }
            second.map(drop)
        })
    };
    let errors: usize = thread::scope(|scope| {
        let threads = [(&a, &b), (&b, &a)].map(|(first, second)| {
            let write_both = &write_both;
            scope.spawn(move || {
                let mut errors = 0;
                // A repeat may be faster than the transaction that it was in the way of.
                while let Err(error) = write_both(first, second, errors > 0) {
                    assert!(error.is_retryable(), "{error:?}");
                    errors += 1;
                }
                errors
            })
        });
        threads.map(|it| it.join().unwrap()).iter().sum()
    });
    assert!(errors > 0);
    for task in [&a, &b] {
        assert_eq!(contents(&repo, task)?.len(), 2);
    }
    Ok(())
}

/// A transaction locks the tasks that it writes. A write beside it to another task has a connection of its own.
#[test]
fn a_write_beside_a_transaction_to_another_task_is_committed() -> anyhow::Result<()> {
    let store = TempDatabase::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = save_task(&repo, "other")?;
    let undone = repo.repo().transaction(|tx| -> anyhow::Result<()> {
        tx.update_task_status(&task, TaskStatus::Running)?;
        repo.save_message(&other, Role::User, "beside")?;
        assert_eq!(tx.count_history(&other)?, 1, "others' commits are seen");
        anyhow::bail!("undone");
    });
    assert_eq!(undone.unwrap_err().to_string(), "undone");
    assert_eq!(contents(&repo, &other)?, ["beside"]);
    assert_eq!(repo.get_task(&task)?.status, TaskStatus::Pending);
    Ok(())
}
