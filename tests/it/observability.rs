//! What a host can see of a store from outside: numbers, and what goes to `tracing`.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use tracing::Level;
use turnkeep_repo::{Error, NewMessage, Repo, Role, TaskId};

use crate::support::TempStore;

#[test]
fn stats_count_what_was_done() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = Repo::builder(store.path())
        .timeout(Duration::from_millis(100))
        .open()?;
    assert_eq!((repo.stats().reads, repo.stats().writes), (0, 0));
    let task = crate::support::save_task(&repo, "t")?;
    repo.save_messages(
        &task,
        &[
            NewMessage::new(Role::User, "a"),
            NewMessage::new(Role::User, "b"),
        ],
    )?;
    repo.get_history(&task)?;
    repo.find_session(&task)?;
    assert!(
        repo.get_session(&task).is_err(),
        "a read that found nothing"
    );
    assert!(
        repo.save_message(&TaskId::new("u")?, Role::User, "x")
            .is_err()
    );

    let mut other = store.raw()?;
    other.batch_execute("BEGIN IMMEDIATE")?;
    assert!(matches!(
        repo.save_message(&task, Role::User, "x"),
        Err(Error::Busy { .. })
    ));
    drop(other);

    let stats = repo.stats();
    assert_eq!((stats.reads, stats.writes, stats.batches), (3, 2, 2));
    assert_eq!((stats.busy, stats.failed), (1, 1));
    assert!(stats.lock_retries > 0);
    assert!(stats.commit_time > Duration::ZERO);
    let wal = store.folder().join("store.db-wal").metadata()?.len();
    assert!(wal > 0);
    assert_eq!(stats.wal_bytes, wal);
    assert_eq!(repo.clone().stats(), stats, "clones count together");
    Ok(())
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn tracing_tells_operations_and_never_contents() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("fix-login")?;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || -> anyhow::Result<()> {
        repo.save_message(&task, Role::User, "secret words")?;
        repo.get_history(&task)?;
        let unknown = TaskId::new("unknown")?;
        assert!(
            repo.save_message(&unknown, Role::User, "secret words")
                .is_err()
        );
        Ok(())
    })?;
    let log = String::from_utf8(log.0.lock().expect("no panic").clone())?;
    assert!(!log.contains("secret"), "{log}");
    for told in [
        "operation=\"save_message\" subject=\"task `fix-login`\"",
        "committed writes=1 wait_us=",
        "lock_retries=0",
        "operation=\"get_history\"",
        "failed error=save_message: there is no task `unknown`",
    ] {
        assert!(log.contains(told), "{told} is missing in:\n{log}");
    }
    Ok(())
}
