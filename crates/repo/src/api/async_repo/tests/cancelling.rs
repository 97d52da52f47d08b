//! Futures that are dropped before they are done.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use turnkeep_model::Role;

use super::scene::{Scene, Stop, or_hang, runtime, started};

#[test]
fn a_future_dropped_before_its_write_began_stores_nothing() {
    or_hang(|| {
        let runtime = runtime();
        let scene = Scene::new();
        let lock = scene.lock();
        let say = |content: &str| started(runtime.handle(), scene.say(content));
        // The one a thread was called for, one in the middle, the last one.
        let first = say("first, dropped");
        let (a, dropped, b, last) = (say("a"), say("dropped"), say("b"), say("last, dropped"));
        assert_eq!(scene.queued(), 5);
        drop((first, dropped, last));
        assert_eq!(scene.queued(), 2);
        drop(lock);
        assert_eq!(runtime.block_on(a).unwrap(), 1);
        assert_eq!(runtime.block_on(b).unwrap(), 2);
        assert_eq!(runtime.block_on(scene.say("c")).unwrap(), 3);
        assert_eq!(scene.said(), ["a", "b", "c"]);
    });
}

/// When nobody is left, the thread that was called leaves, and the next one is called.
#[test]
fn all_may_be_dropped() {
    or_hang(|| {
        let runtime = runtime();
        let scene = Scene::new();
        let lock = scene.lock();
        let say = |content: &str| started(runtime.handle(), scene.say(content));
        drop((say("dropped"), say("dropped too")));
        drop(lock);
        assert_eq!(runtime.block_on(scene.say("a")).unwrap(), 1);
        assert_eq!(scene.said(), ["a"]);
    });
}

#[test]
fn a_future_dropped_after_its_write_began_stores_it() {
    or_hang(|| {
        let runtime = runtime();
        let (stop, clock) = Stop::new();
        let scene = Scene::with(|builder| builder.clock(clock));
        stop.set();
        let future = started(runtime.handle(), scene.say("begun"));
        stop.wait_until_reached();
        drop(future);
        assert!(scene.said().is_empty());
        stop.let_go();
        assert_eq!(runtime.block_on(scene.say("next")).unwrap(), 2);
        assert_eq!(scene.said(), ["begun", "next"]);
    });
}

/// Aborted at any moment: what was acknowledged is there, in order, and nothing twice.
#[test]
fn aborted_tasks_take_nothing_of_others_along() {
    const CALLERS: usize = 60;
    const EACH: i32 = 20;
    or_hang(|| {
        let runtime = runtime();
        let scene = Scene::new();
        let under_way = Arc::new(Semaphore::new(0));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (repo, task) = (scene.repo.clone(), scene.task.clone());
                let (under_way, acks) = (Arc::clone(&under_way), Arc::clone(&acknowledged));
                runtime.spawn(async move {
                    for number in 0..EACH {
                        let content = format!("{caller}: {number:02}");
                        let saved = repo.save_message(&task, Role::User, &content).await;
                        acks.lock().unwrap().push((saved.unwrap(), content));
                        under_way.add_permits(1);
                    }
                })
            })
            .collect();
        runtime.block_on(async {
            for (number, caller) in callers.into_iter().enumerate() {
                if number % 3 == 0 {
                    // Some more got on meanwhile.
                    under_way.acquire_many(10).await.unwrap().forget();
                    caller.abort();
                    if let Err(error) = caller.await {
                        assert!(error.is_cancelled(), "{error}");
                    }
                } else {
                    caller.await.unwrap();
                }
            }
        });
        let said = scene.said();
        for (seq, content) in acknowledged.lock().unwrap().iter() {
            assert_eq!(said.get(seq.get() as usize - 1), Some(content));
        }
        for caller in 0..CALLERS {
            let prefix = format!("{caller}: ");
            let own: Vec<_> = said.iter().filter(|s| s.starts_with(&prefix)).collect();
            assert!(
                own.is_sorted_by(|a, b| a < b),
                "in order, none twice: {own:?}"
            );
            assert!(caller % 3 == 0 || own.len() == EACH as usize);
        }
        assert_eq!(scene.queued(), 0);
    });
}
