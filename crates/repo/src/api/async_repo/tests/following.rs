//! Followers wait without a thread, and somebody always looks for the turns of other processes.

use std::future::poll_fn;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use turnkeep_model::{NewTask, Role, Seq, TaskId, WorkerId};

use super::scene::{Scene, or_hang, poll_once, runtime, single_thread, started, wait_until};
use crate::{AsyncRepo, Follow, Repo};

impl Scene {
    /// Another store on the same file, as another process has it.
    fn other(&self) -> Repo {
        Repo::open(self.folder.path().join("store.db")).unwrap()
    }

    fn task(&self, id: &str) -> TaskId {
        let task = TaskId::new(id).unwrap();
        self.repo
            .repo
            .save_task(&NewTask::new(task.clone(), "T"))
            .unwrap();
        task
    }
}

async fn next_content(mut follow: Follow) -> (Follow, String) {
    let turn = follow.next().await.unwrap();
    (follow, turn.content)
}

#[test]
fn a_thousand_followers_share_one_thread() {
    or_hang(|| {
        let scene = Scene::new();
        let other = scene.other();
        let tasks = [0, 1, 2, 3].map(|number| scene.task(&format!("t{number}")));
        let runtime = single_thread().max_blocking_threads(1).build().unwrap();
        let followers: Vec<_> = (0..1_000)
            .map(|number| scene.repo.follow(&tasks[number % 4], None))
            .map(|mut follow| {
                runtime.spawn(async move {
                    let mut seqs = Vec::new();
                    while seqs.len() < 3 {
                        seqs.push(follow.next().await.unwrap().seq);
                    }
                    seqs
                })
            })
            .collect();
        runtime.block_on(async {
            // All wait, on the one thread that blocks for them.
            while scene.repo.stats().reads < 1_000 {
                tokio::task::yield_now().await;
            }
            for (repo, task) in tasks
                .iter()
                .flat_map(|task| [&other, scene.repo.repo(), &other].map(|repo| (repo, task)))
            {
                repo.save_message(task, Role::User, "x").unwrap();
            }
            for follower in followers {
                assert_eq!(follower.await.unwrap(), [1, 2, 3]);
            }
        });
    });
}

/// A store in memory has no other processes, so only the commit wakes a follower.
#[test]
fn the_commit_wakes_followers() {
    or_hang(|| {
        let repo = Repo::open_in_memory().unwrap();
        let task = TaskId::new("t").unwrap();
        repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
        let runtime = runtime();
        for number in 0..20 {
            let last_seq = Seq::new(number).ok();
            let mut follow = AsyncRepo::from(repo.clone()).follow(&task, last_seq);
            let future = runtime.spawn(async move { follow.next().await.unwrap().seq });
            thread::scope(|scope| {
                let wait = || repo.wait_for_turns(&task, last_seq, Duration::MAX).unwrap();
                let thread = scope.spawn(wait);
                wait_until(|| repo.store.subscribers().len() == 2);
                let saved = match number % 2 {
                    0 => repo.save_message(&task, Role::User, "x"),
                    _ => repo.transaction(|tx| tx.save_message(&task, Role::User, "x")),
                };
                assert_eq!(saved.unwrap(), number + 1);
                assert_eq!(thread.join().unwrap()[0].seq, number + 1);
            });
            assert_eq!(runtime.block_on(future).unwrap(), number + 1);
        }
    });
}

/// A store has thousands of followers, so a checkpoint of one task must not make all of them read.
#[test]
fn a_commit_wakes_only_the_followers_of_its_tasks() {
    let repo = Repo::open_in_memory().unwrap();
    let tasks = ["a", "b", "c"].map(|id| TaskId::new(id).unwrap());
    for task in &tasks {
        repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
    }
    let [a, b, c] = &tasks;
    let subscribers = repo.store.subscribers();
    let subscriptions = [a, b, c].map(|task| subscribers.subscribe(task, None, None));
    let woken = || subscriptions.each_ref().map(|it| it.take_news());

    repo.save_message(c, Role::User, "x").unwrap();
    assert_eq!(woken(), [false, false, true]);
    let written = repo.transaction(|tx| {
        tx.save_message(a, Role::User, "x")?;
        tx.save_message(b, Role::User, "x")
    });
    written.unwrap();
    assert_eq!(woken(), [true, true, false]);
    let undone = repo.transaction(|tx| {
        tx.save_message(a, Role::User, "x")?;
        tx.save_message(&TaskId::new("none")?, Role::User, "x")
    });
    undone.unwrap_err();
    assert_eq!(woken(), [false; 3]);
}

/// The host may keep a future without polling it.
#[test]
fn a_future_that_is_not_polled_holds_up_no_other() {
    or_hang(|| {
        let (scene, runtime) = (Scene::new(), runtime());
        let mut sleeping = scene.repo.follow(&scene.task, None);
        let mut sleeping = started(runtime.handle(), sleeping.next());
        // It has read, and has the watch.
        while !scene.repo.repo.store.subscribers().is_watched() {
            assert!(poll_once(runtime.handle(), sleeping.as_mut()).is_pending());
        }
        let busy = scene.task("busy");
        let follower = runtime.spawn(next_content(scene.repo.follow(&busy, None)));
        wait_until(|| scene.repo.repo.store.subscribers().len() == 2);
        scene.other().save_message(&busy, Role::User, "x").unwrap();
        assert_eq!(runtime.block_on(follower).unwrap().1, "x");
    });
}

#[test]
fn a_runtime_that_ends_hands_over_the_watch() {
    or_hang(|| {
        let (scene, first, second) = (Scene::new(), runtime(), single_thread().build().unwrap());
        let other = scene.other();
        let subscribers = scene.repo.repo.store.subscribers();
        let follow = |runtime: &Handle, id: &str| {
            let task = scene.task(id);
            let follow = runtime.spawn(next_content(scene.repo.follow(&task, None)));
            (task, follow)
        };
        let (_, unfinished) = follow(first.handle(), "unfinished");
        wait_until(|| subscribers.is_watched());
        let (by_thread, by_future) = (scene.task("thread"), scene.task("future"));
        let repo = scene.repo.repo().clone();
        let thread = thread::spawn({
            let task = by_thread.clone();
            move || {
                repo.wait_for_turns(&task, None, Duration::MAX)
                    .unwrap()
                    .len()
            }
        });
        wait_until(|| subscribers.len() == 2);
        first.shutdown_background();
        drop(unfinished);
        other.save_message(&by_thread, Role::User, "x").unwrap();
        assert_eq!(thread.join().unwrap(), 1);
        let mut follow = scene.repo.follow(&by_future, None);
        let (turn, _) = second.block_on(async {
            tokio::join!(follow.next(), async {
                while subscribers.is_empty() {
                    tokio::task::yield_now().await;
                }
                other.save_message(&by_future, Role::User, "y").unwrap();
            })
        });
        assert_eq!(turn.unwrap().content, "y");
    });
}

/// A host may keep a runtime after `block_on` has returned. Its task that has the watch does not run then.
#[test]
fn a_runtime_that_nobody_drives_holds_up_no_thread() {
    or_hang(|| {
        let (scene, idle) = (Scene::new(), single_thread().build().unwrap());
        let repo = scene.repo.repo().clone();
        let mut follow = scene.repo.follow(&scene.task, None);
        let mut next = Box::pin(follow.next());
        while !repo.store.subscribers().is_watched() {
            idle.block_on(async {
                let polled = poll_fn(|context| Poll::Ready(next.as_mut().poll(context)));
                assert!(polled.await.is_pending());
            });
        }
        let reads = repo.stats().reads;
        let busy = scene.task("busy");
        let thread = thread::spawn({
            let (repo, busy) = (repo.clone(), busy.clone());
            move || repo.wait_for_turns(&busy, None, Duration::MAX).unwrap()
        });
        wait_until(|| repo.stats().reads > reads);
        scene.other().save_message(&busy, Role::User, "x").unwrap();
        assert_eq!(thread.join().unwrap()[0].content, "x");
    });
}

/// A worker hears what is said to its agent.
#[test]
fn a_claim_follows_its_task() {
    or_hang(|| {
        let (scene, runtime) = (Scene::new(), runtime());
        let (worker, lease) = (WorkerId::new("w").unwrap(), Duration::from_secs(60));
        let claim = runtime.block_on(scene.repo.claim(&scene.task, &worker, lease));
        let claim = claim.unwrap().unwrap();
        let mut follow = claim.follow(Some(Seq::MIN));
        runtime.block_on(async {
            let asked = claim.save_message(Role::User, "Go on.").await;
            assert_eq!(asked.unwrap(), 1);
            let follow = tokio::spawn(async move { follow.next().await.unwrap().content });
            let said = scene.repo.save_message(&scene.task, Role::User, "Stop.");
            assert_eq!(said.await.unwrap(), 2);
            assert_eq!(follow.await.unwrap(), "Stop.");
        });
    });
}

#[test]
fn a_dropped_future_loses_no_turn() {
    or_hang(|| {
        let (scene, runtime) = (Scene::new(), runtime());
        let mut follow = scene.repo.follow(&scene.task, None);
        for number in 1..=5 {
            drop(started(runtime.handle(), follow.next()));
            scene
                .other()
                .save_message(&scene.task, Role::User, "x")
                .unwrap();
            assert_eq!(runtime.block_on(follow.next()).unwrap().seq, number);
        }
        assert!(scene.repo.repo.store.subscribers().is_empty());
    });
}
