//! Several processes on one store.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use turnkeep_repo::{ErrorKind, NewTask, Role};

use crate::scene::{contents, open_with_task};
use crate::{Harness, Options, Store, Worker};

/// Reading and opening do not wait for the write lock of another process.
pub fn readers_do_not_wait_for_a_writer<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (_, task) = open_with_task(&store, "t")?;
    let repo = store.open_with(Options::new().timeout(Duration::from_secs(2)))?;
    repo.save_message(&task, Role::User, "before")?;
    let mut holder = Worker::start(&store, &["hold-lock"])?;
    assert_eq!(holder.line()?.as_deref(), Some("held"));
    assert_eq!(contents(&repo, &task)?, ["before"]);
    assert_eq!(repo.get_tasks()?.len(), 1);
    let another = store.open()?;
    assert_eq!(contents(&another, &task)?, ["before"], "nor does opening");
    holder.finish()?;
    Ok(())
}

/// A write that cannot get the lock fails with `Busy` after the timeout and stores nothing.
pub fn a_held_lock_is_busy_after_the_timeout<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (_, task) = open_with_task(&store, "t")?;
    let timeout = Duration::from_millis(150);
    let repo = store.open_with(Options::new().timeout(timeout))?;
    let mut holder = Worker::start(&store, &["hold-lock"])?;
    assert_eq!(holder.line()?.as_deref(), Some("held"));

    // One of them waits for the lock, the others wait in the queue.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let error = repo.save_message(&task, Role::User, "lost").unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::Busy { timeout: t } if *t == timeout));
                assert!(error.is_retryable());
                assert_eq!(
                    error.to_string(),
                    "save_message: task `t` was kept busy by others for 150ms"
                );
            });
        }
    });
    holder.finish()?;
    assert_eq!(repo.save_message(&task, Role::User, "stored")?, 1);
    assert_eq!(contents(&repo, &task)?, ["stored"]);
    Ok(())
}

/// A write waits for the lock and then succeeds.
pub fn a_write_waits_for_a_short_lock<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (_, task) = open_with_task(&store, "t")?;
    // Longer than the milliseconds of any engine.
    let repo = store.open_with(Options::new().timeout(Duration::MAX))?;
    let mut holder = Worker::start(&store, &["hold-lock"])?;
    assert_eq!(holder.line()?.as_deref(), Some("held"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| repo.save_message(&task, Role::User, "stored"));
        holder.go();
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
    });
    Ok(())
}

/// Two processes append to one task without gaps, losses or duplicates.
pub fn two_processes_append<H: Harness>() -> anyhow::Result<()> {
    appending_processes::<H>(2, 200)
}

/// Sixteen processes append to one task without gaps, losses or duplicates.
pub fn sixteen_processes_append<H: Harness>() -> anyhow::Result<()> {
    appending_processes::<H>(16, 25)
}

fn appending_processes<H: Harness>(processes: usize, each: usize) -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let count = each.to_string();
    let workers = (0..processes)
        .map(|writer| Worker::start(&store, &["append", "t", &format!("w{writer}"), &count]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut acknowledged = Vec::new();
    for worker in workers {
        acknowledged.extend(worker.finish()?);
    }
    let stored: HashSet<String> = contents(&repo, &task)?
        .into_iter()
        .zip(1..)
        .map(|(content, seq)| format!("ack {seq} {content}"))
        .collect();
    assert_eq!(acknowledged.len(), processes * each);
    assert_eq!(acknowledged.into_iter().collect::<HashSet<_>>(), stored);
    Ok(())
}

/// Sixteen processes can open a store that does not exist yet at the same time.
pub fn sixteen_processes_create_one_store<H: Harness>() -> anyhow::Result<()> {
    for _ in 0..4 {
        let store = H::new()?;
        let mut workers = (0..16)
            .map(|_| Worker::start(&store, &["open"]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        workers.iter_mut().for_each(Worker::go);
        for worker in workers {
            assert_eq!(worker.finish()?, ["opened"]);
        }
        assert!(store.open()?.get_tasks()?.is_empty());
    }
    Ok(())
}

/// One of several processes claims a task.
pub fn claim_task_has_one_winner_across_processes<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for number in 0..5 {
        let id = format!("t{number}");
        repo.save_task(&NewTask::new(id.parse()?, "T"))?;
        let workers = (0..6)
            .map(|_| Worker::start(&store, &["claim", &id]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut answers = Vec::new();
        for worker in workers {
            answers.extend(worker.finish()?);
        }
        answers.sort();
        assert_eq!(
            answers,
            ["false", "false", "false", "false", "false", "true"]
        );
    }
    Ok(())
}
