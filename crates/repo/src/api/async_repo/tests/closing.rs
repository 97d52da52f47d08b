//! Opening, and what is left of a store when its last handle is gone.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use turnkeep_model::{NewTask, Role, TaskId};

use super::scene::{Scene, Stop, or_hang, runtime, started, wait_until};
use crate::base::error::ErrorKind;
use crate::{AsyncRepo, Repo, Result};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

async fn save_task(repo: &AsyncRepo) -> Result<TaskId> {
    let task = TaskId::new("t")?;
    repo.save_task(&NewTask::new(task.clone(), "T")).await?;
    Ok(task)
}

/// After any write or read. In rounds, since what might be left is left for a moment
/// only.
#[test]
fn a_closed_store_can_be_moved_at_once() {
    or_hang(|| {
        let runtime = runtime();
        for round in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let (path, moved) = (folder.path().join("a.db"), folder.path().join("b.db"));
            runtime.block_on(async {
                let repo = AsyncRepo::open(&path).await.unwrap();
                let task = save_task(&repo).await.unwrap();
                let callers = [0, 1, 2].map(|_| {
                    let (repo, task) = (repo.clone(), task.clone());
                    tokio::spawn(async move {
                        repo.save_message(&task, Role::User, "x").await.unwrap();
                        repo.get_history(&task).await.unwrap();
                        if round % 2 == 0 {
                            repo.save_message(&task, Role::User, "y").await.unwrap();
                        }
                        repo.close().await;
                    })
                });
                repo.close().await;
                for caller in callers {
                    caller.await.unwrap();
                }
            });
            assert_eq!(names(folder.path()), ["a.db"], "round {round}");
            fs::rename(&path, &moved).unwrap();
            let repo = Repo::open(&moved).unwrap();
            let task = TaskId::new("t").unwrap();
            let expected = if round % 2 == 0 { 6 } else { 3 };
            assert_eq!(repo.count_history(&task).unwrap(), expected);
        }
    });
}

#[test]
fn other_handles_keep_a_store_open() {
    or_hang(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        runtime().block_on(async {
            let builder = AsyncRepo::builder(&path).readers(1);
            let repo = builder.open_async().await.unwrap();
            let task = save_task(&repo).await.unwrap();
            let blocking = repo.repo().clone();
            repo.clone().close().await;
            repo.close().await;
            assert_eq!(blocking.save_message(&task, Role::User, "x").unwrap(), 1);
            let repo = AsyncRepo::from(blocking);
            assert_eq!(repo.count_history(&task).await.unwrap(), 1);
            assert!(names(folder.path()).len() > 1, "there is a log");
            drop(repo);
            assert_eq!(names(folder.path()), ["store.db"], "dropping closes too");
        });
    });
}

#[test]
fn opening_fails_as_it_does_for_blocking_code() {
    or_hang(|| {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let error = AsyncRepo::open(folder.path()).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::NotAStore { .. }),
                "{error:?}"
            );
            let builder = AsyncRepo::builder(folder.path().join("store.db")).readers(0);
            let error = builder.open_async().await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::InvalidInput { .. }),
                "{error:?}"
            );
        });
    });
}

#[test]
fn a_store_in_memory_is_one_store() {
    or_hang(|| {
        runtime().block_on(async {
            let repo = AsyncRepo::open_in_memory().await.unwrap();
            let task = save_task(&repo).await.unwrap();
            let callers: Vec<_> = (0..50)
                .map(|_| {
                    let (repo, task) = (repo.clone(), task.clone());
                    tokio::spawn(async move {
                        repo.save_message(&task, Role::User, "x").await.unwrap();
                        repo.get_history_last(&task, 1).await.unwrap();
                    })
                })
                .collect();
            for caller in callers {
                caller.await.unwrap();
            }
            assert_eq!(repo.count_history(&task).await.unwrap(), 50);
            let another = AsyncRepo::open_in_memory().await.unwrap();
            assert!(another.get_tasks().await.unwrap().is_empty());
            repo.close().await;
        });
    });
}

fn said_in(folder: &TempDir) -> Vec<String> {
    let repo = Repo::open(folder.path().join("store.db")).unwrap();
    let history = repo.get_history(&TaskId::new("t").unwrap()).unwrap();
    history.into_iter().map(|turn| turn.content).collect()
}

#[test]
fn closing_waits_for_a_write_that_was_begun_for_a_dropped_future() {
    or_hang(|| {
        let runtime = runtime();
        let (stop, clock) = Stop::new();
        let scene = Scene::with(|builder| builder.clock(clock));
        stop.set();
        let begun = started(runtime.handle(), scene.say("begun"));
        stop.wait_until_reached();
        drop(begun);
        let Scene { folder, repo, .. } = scene;
        let closed = runtime.spawn(repo.close());
        stop.let_go();
        runtime.block_on(closed).unwrap();
        assert_eq!(names(folder.path()), ["store.db"]);
        assert_eq!(said_in(&folder), ["begun"]);
    });
}

/// Such a write may have to be begun again, when another one of the same transaction panicked. Here
/// that one had the last handle. Repeated, because the order of the threads varies.
#[test]
fn closing_waits_for_a_write_that_has_to_be_begun_again() {
    or_hang(|| {
        let runtime = runtime();
        for _ in 0..10 {
            let (stop, clock) = Stop::new();
            let is_broken = Arc::new(AtomicBool::new(false));
            let broken = Arc::clone(&is_broken);
            let clock = move || {
                let time = clock();
                assert!(!broken.load(Ordering::SeqCst), "broken clock");
                time
            };
            let scene = Scene::with(|builder| builder.clock(clock));
            let lock = scene.lock();
            let begun = started(runtime.handle(), scene.say_with_time("begun"));
            let panics = runtime.spawn(scene.say("panics"));
            wait_until(|| scene.queued() == 2);
            stop.set();
            drop(lock);
            stop.wait_until_reached();
            drop(begun);
            let Scene { folder, repo, .. } = scene;
            drop(repo);
            is_broken.store(true, Ordering::SeqCst);
            stop.let_go();
            assert!(runtime.block_on(panics).unwrap_err().is_panic());
            assert_eq!(names(folder.path()), ["store.db"]);
            assert_eq!(said_in(&folder), ["begun"]);
        }
    });
}
