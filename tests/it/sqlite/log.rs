//! Bounds of the write-ahead log.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use diesel::connection::SimpleConnection;
use turnkeep_repo::{Durability, NewMessage, Role, TaskId};

use super::{Opened, TempStore};
use crate::support::*;

/// `journal_size_limit`, 64 MiB, and a little more.
const BOUND: u64 = 68_000_000;

/// The bound beside overlapping readers.
const BOUND_BESIDE_READERS: u64 = 136_000_000;

fn log_size(store: &TempStore) -> u64 {
    fs::metadata(store.path().with_file_name("store.db-wal")).map_or(0, |log| log.len())
}

#[test]
fn the_log_is_bounded_without_readers() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open_with(Options::new().durability(Durability::Normal))?;
    let task = save_task(&repo, "t")?;
    let content = "x".repeat(100_000);
    for _ in 0..1_500 {
        repo.save_message(&task, Role::Assistant, &content)?;
        assert!(log_size(&store) < BOUND);
    }
    Ok(())
}

#[test]
fn the_log_shrinks_after_a_long_read() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open_with(Options::new().durability(Durability::Normal))?;
    let task = save_task(&repo, "t")?;
    let mut reader = store.raw()?;
    reader.batch_execute("BEGIN; SELECT count(*) FROM tasks")?;
    let content = "x".repeat(1_000_000);
    while log_size(&store) < 80_000_000 {
        repo.save_message(&task, Role::Assistant, &content)?;
    }
    drop(reader);
    let needed = (0..2_000).find(|_| {
        let saved = repo.save_message(&task, Role::Assistant, "small");
        saved.is_ok() && log_size(&store) < BOUND
    });
    assert!(needed.is_some(), "{} bytes", log_size(&store));
    Ok(())
}

#[test]
fn the_log_is_bounded_beside_overlapping_readers() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open_with(Options::new().durability(Durability::Normal))?;
    let [read, written] = [save_task(&repo, "read")?, save_task(&repo, "written")?];
    let turns: Vec<_> = (0..2_000)
        .map(|_| NewMessage::new(Role::User, "x".repeat(1_000)))
        .collect();
    repo.save_messages(&read, &turns)?;
    let content = "x".repeat(100_000);
    let mut longest = 0;
    beside_readers(&repo, &read, || {
        for _ in 0..2_000 {
            repo.save_message(&written, Role::Assistant, &content)?;
            longest = longest.max(log_size(&store));
        }
        Ok(())
    })?;
    assert!(longest < BOUND_BESIDE_READERS, "{longest} bytes");
    Ok(())
}

/// Runs `work` while two threads keep reading the history.
fn beside_readers(
    repo: &Opened,
    task: &TaskId,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(repo.get_history(task).unwrap().len(), 2_000);
                }
            });
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn writes_succeed_beside_a_long_read() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open_with(Options::new().durability(Durability::Normal))?;
    let task = save_task(&repo, "t")?;
    let mut reader = store.raw()?;
    reader.batch_execute("BEGIN; SELECT count(*) FROM tasks")?;
    let content = "x".repeat(1_000_000);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..40 {
                    repo.save_message(&task, Role::Assistant, &content).unwrap();
                }
            });
        }
    });
    assert!(log_size(&store) > 80_000_000, "the reader keeps it");
    assert_eq!(repo.get_history(&task)?.len(), 80);
    reader.batch_execute("SELECT count(*) FROM tasks; COMMIT")?;
    Ok(())
}

/// The next open after a crash reads the log, and the last clean close removes it.
#[test]
fn the_log_of_a_killed_process_is_read() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    drop(repo);
    let mut worker = Worker::start(&store, &["append", "t", "w", "0"])?;
    worker.line()?;
    worker.kill()?;
    assert!(log_size(&store) > 0, "the writes are in the log");
    let repo = store.open()?;
    assert!(repo.count_history(&task)? >= 1);
    drop(repo);
    assert!(!store.folder().join("store.db-wal").exists());
    Ok(())
}
