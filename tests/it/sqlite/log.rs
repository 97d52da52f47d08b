//! The write-ahead log must not grow for ever.

use std::fs;

use diesel::connection::SimpleConnection;
use turnkeep_repo::{Durability, Role};

use super::TempStore;
use crate::support::*;

/// 64 MiB, to which SQLite cuts the log, and a little more.
const BOUND: u64 = 68_000_000;

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
fn the_log_shrinks_after_a_reader_that_would_not_end() -> anyhow::Result<()> {
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

/// A crash leaves a log behind; the next start reads it, and the last clean end removes it.
#[test]
fn the_log_of_a_killed_process_is_read() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    drop(repo);
    let mut worker = Worker::start(&store, &["append", "t", "w", "0"])?;
    worker.line()?;
    worker.kill()?;
    assert!(log_size(&store) > 0, "the writes stand in the log");
    let repo = store.open()?;
    assert!(repo.count_history(&task)? >= 1);
    drop(repo);
    assert!(!store.folder().join("store.db-wal").exists());
    Ok(())
}
