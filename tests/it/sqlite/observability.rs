//! Counters of a store, and the events for `tracing`.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use tracing::Level;
use turnkeep_repo::{ErrorKind, NewMessage, Role, TaskId};

use super::TempStore;
use crate::support::*;

#[test]
fn stats_count_what_was_done() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open_with(Options::new().timeout(Duration::from_millis(100)))?;
    assert_eq!((repo.stats().reads, repo.stats().writes), (0, 0));
    let task = save_task(&repo, "t")?;
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
        repo.save_message(&task, Role::User, "x")
            .unwrap_err()
            .kind(),
        ErrorKind::Busy { .. }
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

/// Collects the lines that tell of the tasks of the test below.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl io::Write for Log {
    /// Gets whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        if line.contains("task `traced") || line.contains("traced.db") {
            self.0.lock().expect("no panic").push_str(&line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The whole process has one subscriber: `tracing` remembers of each place in the code
/// whether anyone listens, and other tests, on other threads, would tell it that nobody does.
#[test]
fn tracing_tells_operations_and_never_contents() -> anyhow::Result<()> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber)?;

    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "traced")?;
    repo.save_message(&task, Role::User, "secret words")?;
    let metadata: turnkeep_repo::Metadata = r#"{"secret":1}"#.parse()?;
    let message = turnkeep_repo::NewMessage::new(Role::User, "x").metadata(metadata.clone());
    repo.save_messages(&task, &[message])?;
    let session = binding(turnkeep_repo::BackendType::Claude, "s", None)?;
    repo.save_session(&task, &session.metadata(metadata.clone()))?;
    repo.save_task(&turnkeep_repo::NewTask::new(task.clone(), "T").metadata(metadata))?;
    repo.get_history(&task)?;
    let unknown = TaskId::new("traced, but unknown")?;
    let refused = repo.save_message(&unknown, Role::User, "secret words");
    assert!(refused.is_err());

    let others = store.folder().join("traced.db");
    std::fs::write(&others, "")?;
    #[cfg(unix)]
    std::fs::set_permissions(&others, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    drop(turnkeep_repo::Repo::open(&others)?);

    let log = log.0.lock().expect("no panic").clone();
    #[cfg(unix)]
    assert!(
        log.contains("traced.db has mode 644, others can get at it"),
        "{log}"
    );
    assert!(!log.contains("secret"), "{log}");
    for told in [
        "operation=\"save_message\" subject=\"task `traced`\"",
        "committed writes=1 wait_us=",
        "lock_retries=0",
        "operation=\"get_history\"",
        "failed error=save_message: there is no task `traced, but unknown`",
    ] {
        assert!(log.contains(told), "{told} is missing in:\n{log}");
    }
    Ok(())
}
