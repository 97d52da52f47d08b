//! Forking a process with an open store.

#![cfg(unix)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::ensure;
use turnkeep_repo::{ErrorKind, NewTask, Repo, Role, TaskId};
use turnkeep_test_fork::in_child;

fn task() -> TaskId {
    TaskId::new("t").expect("an id")
}

fn store(path: &Path) -> anyhow::Result<Repo> {
    let repo = Repo::open(path)?;
    repo.save_task(&NewTask::new(task(), "T"))?;
    Ok(repo)
}

fn is_forked<T>(result: turnkeep_repo::Result<T>) -> anyhow::Result<()> {
    match result {
        Err(error) if *error.kind() == ErrorKind::Forked => {
            ensure!(!error.is_retryable());
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("it went through"),
    }
}

/// Other threads write during the fork, so the child inherits locks whose threads do not exist.
#[test]
fn sqlite_a_store_is_refused_in_a_forked_process() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    let repo = store(&path)?;
    let is_over = AtomicBool::new(false);
    let written = thread::scope(|scope| -> anyhow::Result<i64> {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut written = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        repo.save_message(&task(), Role::User, "parent")?;
                        written += 1;
                    }
                    turnkeep_repo::Result::<i64>::Ok(written)
                })
            })
            .collect::<Vec<_>>();
        let children = (0..20).try_for_each(|_| {
            in_child(|| {
                is_forked(repo.get_history(&task()))?;
                is_forked(repo.save_message(&task(), Role::User, "child"))?;
                is_forked(repo.delete_task(&task()))?;
                match turnkeep_admin::copy(&repo, &repo, |_| ()) {
                    Err(turnkeep_admin::Error::Store(error)) => is_forked::<()>(Err(error)),
                    other => anyhow::bail!("{other:?}"),
                }
            })
        });
        is_over.store(true, Ordering::Relaxed);
        let mut written = 0;
        for writer in writers {
            written += writer.join().expect("no panic")?;
        }
        children.map(|()| written)
    })?;
    assert_eq!(repo.count_history(&task())?, written);
    Ok(())
}

/// SQLite must not close a connection that was inherited
/// (<https://sqlite.org/howtocorrupt.html>, 2.6).
#[test]
#[cfg(target_os = "linux")]
fn sqlite_a_child_that_drops_a_store_closes_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    let repo = store(&path)?;
    repo.get_history(&task())?;
    let open_files = || -> anyhow::Result<usize> {
        let files = std::fs::read_dir("/proc/self/fd")?;
        let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        Ok(targets
            .filter(|target| target.starts_with(folder.path()))
            .count())
    };
    let mut handle = Some(repo);
    in_child(|| {
        let before = open_files()?;
        drop(handle.take());
        ensure!(before > 2 && open_files()? == before);
        Ok(())
    })?;
    let repo = handle.expect("the child had a copy");
    assert_eq!(repo.save_message(&task(), Role::User, "1")?, 1);
    drop(repo);
    assert_eq!(open_files()?, 0, "here it is closed");
    Ok(())
}

/// The locks of the parent's threads are held for ever, for all files.
#[test]
fn sqlite_no_store_is_opened_in_a_forked_process() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    let other = folder.path().join("other.db");
    let repo = store(&path)?;
    in_child(|| {
        is_forked(Repo::open(&path))?;
        is_forked(Repo::open(&other))?;
        is_forked(Repo::open_in_memory())?;
        is_forked(turnkeep_admin::check_unopened(Repo::builder(&path)))
    })?;
    assert!(!other.exists());
    assert_eq!(repo.save_message(&task(), Role::User, "1")?, 1);
    assert!(Repo::open(&other).is_ok(), "here any can");
    Ok(())
}

/// The child must not close the parent's connections to the server.
#[test]
#[cfg(feature = "postgres")]
fn postgres_a_store_is_refused_in_a_forked_process() -> anyhow::Result<()> {
    let database = turnkeep_test_postgres::Server::shared()?.database()?;
    let repo = store(database.url().as_ref())?;
    repo.save_message(&task(), Role::User, "parent")?;
    let connections = || {
        database.psql(
            "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    };
    let before = connections()?;
    ensure!(!before.trim().is_empty());
    let mut handle = Some(repo);
    in_child(|| {
        let repo = handle.take().expect("the child has a copy");
        is_forked(repo.get_history(&task()))?;
        is_forked(repo.save_message(&task(), Role::User, "child"))?;
        is_forked(Repo::open(database.url()))?;
        drop(repo);
        Ok(())
    })?;
    let repo = handle.expect("the child had a copy");
    assert_eq!(repo.save_message(&task(), Role::User, "parent")?, 2);
    assert_eq!(repo.get_history(&task())?.len(), 2);
    assert_eq!(connections()?, before, "they are the ones there were");
    Ok(())
}
