//! A store in memory, which has no file and one connection.

use std::path::Path;
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use turnkeep_repo::Role;

use super::Opened;
use crate::support::*;

#[test]
fn a_store_in_memory_is_a_store() -> anyhow::Result<()> {
    let repo = Opened::in_memory()?;
    let task = save_task(&repo, "t")?;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    repo.clone().save_message(&task, Role::User, "x").unwrap();
                    repo.get_history_last(&task, 1).unwrap();
                }
            });
        }
    });
    assert_eq!(contents(&repo, &task)?.len(), 200);
    let another = Opened::in_memory()?;
    assert!(another.get_tasks()?.is_empty(), "each is its own");
    Ok(())
}

/// Nobody but the store itself creates files: a connection opened the usual way would.
#[test]
fn opening_in_memory_leaves_no_file() -> anyhow::Result<()> {
    let mut conn = SqliteConnection::establish(":memory:")?;
    conn.batch_execute("SELECT 1")?;
    let repo = Opened::in_memory()?;
    save_task(&repo, "t")?;
    assert!(!Path::new(":memory:").exists());
    Ok(())
}
