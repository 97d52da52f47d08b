//! The write-ahead log must not grow for ever.

use diesel::connection::SimpleConnection;
use turnkeep_repo::{Durability, Repo, Role};

use crate::support::{TempStore, save_task};

/// 64 MiB, to which SQLite cuts the log, and a little more.
const BOUND: u64 = 68_000_000;

fn log_size(repo: &Repo) -> u64 {
    repo.stats().wal_bytes
}

#[test]
fn the_log_is_bounded_without_readers() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = Repo::builder(store.path())
        .durability(Durability::Normal)
        .open()?;
    let task = save_task(&repo, "t")?;
    let content = "x".repeat(100_000);
    for _ in 0..1_500 {
        repo.save_message(&task, Role::Assistant, &content)?;
        assert!(log_size(&repo) < BOUND);
    }
    Ok(())
}

#[test]
fn the_log_shrinks_after_a_reader_that_would_not_end() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = Repo::builder(store.path())
        .durability(Durability::Normal)
        .open()?;
    let task = save_task(&repo, "t")?;
    let mut reader = store.raw()?;
    reader.batch_execute("BEGIN; SELECT count(*) FROM tasks")?;
    let content = "x".repeat(1_000_000);
    while log_size(&repo) < 80_000_000 {
        repo.save_message(&task, Role::Assistant, &content)?;
    }
    drop(reader);
    let needed = (0..2_000).find(|_| {
        let saved = repo.save_message(&task, Role::Assistant, "small");
        saved.is_ok() && log_size(&repo) < BOUND
    });
    assert!(needed.is_some(), "{} bytes", log_size(&repo));
    Ok(())
}
