//! Many futures, few threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use turnkeep_model::{NewTask, Role, TaskId};

use super::scene::{Scene, or_hang, runtime, single_thread, started, two_workers, wait_until};

const CROWD: usize = 1_000;

#[test]
fn a_thousand_writes_wait_without_holding_up_two_workers() {
    or_hang(|| a_thousand_writes_wait_without_holding_up(two_workers(), 2));
}

#[test]
fn a_thousand_writes_wait_without_holding_up_a_single_thread() {
    or_hang(|| a_thousand_writes_wait_without_holding_up(single_thread(), 0));
}

/// While another program has the file, a thousand tasks wait for it, and timers of the same runtime
/// go on.
fn a_thousand_writes_wait_without_holding_up(mut runtime: Builder, workers: usize) {
    let threads = Arc::new(AtomicUsize::new(0));
    let started = Arc::clone(&threads);
    runtime.on_thread_start(move || {
        started.fetch_add(1, Ordering::Relaxed);
    });
    let runtime = runtime.build().unwrap();
    let scene = Scene::new();
    // Spawned, for the threads that run the others.
    let test = runtime.spawn(async move {
        let lock = scene.lock();
        let mut writers: Vec<JoinHandle<TaskId>> = Vec::new();
        for number in 0..CROWD {
            let repo = scene.repo.clone();
            writers.push(tokio::spawn(async move {
                let task = TaskId::new(format!("task {number}")).unwrap();
                repo.save_task(&NewTask::new(task.clone(), "T"))
                    .await
                    .unwrap();
                for seq in 1..=3 {
                    let content = format!("{number} {seq}");
                    let saved = repo.save_message(&task, Role::User, &content).await;
                    assert_eq!(saved.unwrap(), seq);
                }
                task
            }));
        }
        let mut timer = tokio::time::interval(Duration::from_millis(1));
        while scene.queued() < CROWD {
            timer.tick().await;
        }
        for _ in 0..50 {
            timer.tick().await;
        }
        assert_eq!(scene.queued(), CROWD, "nobody got in");
        let threads = threads.load(Ordering::Relaxed);
        assert!(
            threads <= workers + 1,
            "{threads} threads, one is to wait for the file"
        );

        drop(lock);
        for (number, writer) in writers.into_iter().enumerate() {
            let task = writer.await.unwrap();
            let history = scene.repo.get_history(&task).await.unwrap();
            let contents = history.into_iter().map(|turn| turn.content);
            assert!(contents.eq((1..=3).map(|seq| format!("{number} {seq}"))));
        }
    });
    runtime.block_on(test).unwrap();
}

/// They don't take turns on the one thread either: who waits at the same time is written together.
#[test]
fn a_single_blocking_thread_is_enough() {
    or_hang(|| {
        let runtime = two_workers().max_blocking_threads(1).build().unwrap();
        let scene = Scene::new();
        let before = scene.batches();
        let lock = scene.lock();
        let say = |number: usize| runtime.spawn(scene.say(&number.to_string()));
        let writers: Vec<_> = (0..CROWD).map(say).collect();
        wait_until(|| scene.queued() == CROWD);
        drop(lock);
        let stored = runtime.block_on(async {
            for writer in writers {
                writer.await.unwrap().unwrap();
            }
            scene.repo.count_history(&scene.task).await.unwrap()
        });
        assert_eq!(stored, CROWD as i64);
        assert_eq!(scene.batches() - before, 4, "of at most 256");
    });
}

#[test]
fn threads_and_futures_wait_in_one_queue() {
    or_hang(|| {
        let runtime = runtime();
        let scene = Scene::new();
        let before = scene.batches();
        let lock = scene.lock();
        let mut futures = Vec::new();
        let mut threads = Vec::new();
        for round in 0..3 {
            futures.push(started(
                runtime.handle(),
                scene.say(&format!("{round} future")),
            ));
            let (repo, task) = (scene.repo.repo().clone(), scene.task.clone());
            threads.push(thread::spawn(move || {
                let content = format!("{round} thread");
                repo.save_message(&task, Role::User, &content).unwrap()
            }));
            wait_until(|| scene.queued() == 2 * (round + 1));
        }
        drop(lock);
        for (future, seq) in futures.into_iter().zip([1, 3, 5]) {
            assert_eq!(runtime.block_on(future).unwrap(), seq);
        }
        for (thread, seq) in threads.into_iter().zip([2, 4, 6]) {
            assert_eq!(thread.join().unwrap(), seq);
        }
        assert_eq!(scene.batches() - before, 1);
        let said = scene.said();
        assert_eq!(said[..3], ["0 future", "0 thread", "1 future"]);
    });
}

/// The lead goes back and forth between threads that wait and the one called for the futures.
#[test]
fn threads_and_futures_lose_nothing_to_each_other() {
    const CALLERS: usize = 8;
    const EACH: usize = 40;
    or_hang(|| {
        let runtime = runtime();
        let scene = Scene::new();
        let (repo, task) = (&scene.repo, &scene.task);
        let tasks: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (repo, task) = (repo.clone(), task.clone());
                runtime.spawn(async move {
                    for number in 0..EACH {
                        let content = format!("task {caller} {number:02}");
                        let saved = repo.save_message(&task, Role::User, &content).await;
                        saved.unwrap();
                    }
                })
            })
            .collect();
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                scope.spawn(move || {
                    for number in 0..EACH {
                        let content = format!("thread {caller} {number:02}");
                        let saved = repo.repo().save_message(task, Role::User, &content);
                        saved.unwrap();
                    }
                });
            }
        });
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        let said = scene.said();
        assert_eq!(said.len(), 2 * CALLERS * EACH);
        for caller in 0..CALLERS {
            for kind in ["task", "thread"] {
                let prefix = format!("{kind} {caller} ");
                let own: Vec<_> = said.iter().filter(|s| s.starts_with(&prefix)).collect();
                assert_eq!(own.len(), EACH);
                assert!(own.is_sorted(), "{prefix}");
            }
        }
    });
}
