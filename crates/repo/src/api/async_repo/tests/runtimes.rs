//! A store lives longer than a runtime, and is used by several.

use std::thread;

use tokio::runtime::Runtime;
use turnkeep_model::Role;

use super::scene::{Scene, or_hang, runtime, single_thread, started, wait_until};
use crate::base::error::ErrorKind;

#[test]
fn a_runtime_that_is_dropped_harms_nobody() {
    or_hang(|| a_runtime_that_ends_harms_nobody(drop));
}

#[test]
fn a_runtime_that_is_shut_down_harms_nobody() {
    or_hang(|| a_runtime_that_ends_harms_nobody(Runtime::shutdown_background));
}

fn a_runtime_that_ends_harms_nobody(end: fn(Runtime)) {
    let ending = runtime();
    let scene = Scene::new();
    let lock = scene.lock();
    for number in 0..20 {
        ending.spawn(scene.say(&format!("dropped with its runtime {number}")));
    }
    wait_until(|| scene.queued() == 20 && scene.repo.stats().lock_retries > 0);
    // Ends after the thread that writes, which waits for the file.
    let ending = thread::spawn(move || end(ending));
    wait_until(|| scene.queued() == 0);

    let (repo, task) = (scene.repo.repo().clone(), scene.task.clone());
    let blocking = thread::spawn(move || repo.save_message(&task, Role::User, "thread").unwrap());
    wait_until(|| scene.queued() == 1);
    let second = single_thread().build().unwrap();
    let future = started(second.handle(), scene.say("second runtime"));
    drop(lock);
    assert_eq!(blocking.join().unwrap(), 1);
    assert_eq!(second.block_on(future).unwrap(), 2);
    ending.join().unwrap();
    assert_eq!(second.block_on(scene.say("again")).unwrap(), 3);
    assert_eq!(scene.said(), ["thread", "second runtime", "again"]);
}

/// A runtime that has ended takes no more work, without a word. Its futures that are
/// still there are passed over; those of others, for which nobody was called as long as one was
/// expected, do not wait for ever.
#[test]
fn a_runtime_that_has_ended_holds_up_no_other() {
    or_hang(|| {
        let ending = runtime();
        let dead = ending.handle().clone();
        let live = runtime();
        let scene = Scene::new();
        let lock = scene.lock();
        let (repo, task) = (scene.repo.repo().clone(), scene.task.clone());
        let thread = thread::spawn(move || repo.save_message(&task, Role::User, "thread").unwrap());
        wait_until(|| scene.repo.stats().lock_retries > 0);
        let passed_over = [0, 1, 2].map(|_| started(&dead, scene.say("dead")));
        ending.shutdown_background();
        let writing = started(live.handle(), scene.say("live"));
        drop(lock);
        assert_eq!(thread.join().unwrap(), 1);
        assert_eq!(live.block_on(writing).unwrap(), 2);
        drop(passed_over);
        assert_eq!(scene.said(), ["thread", "live"]);
    });
}

/// One that still runs leads for the futures of all.
#[test]
fn runtimes_share_transactions() {
    or_hang(|| {
        let (one, other) = (runtime(), single_thread().build().unwrap());
        let scene = Scene::new();
        let before = scene.batches();
        let lock = scene.lock();
        let a = started(one.handle(), scene.say("a"));
        let b = started(other.handle(), scene.say("b"));
        let c = started(one.handle(), scene.say("c"));
        drop(lock);
        assert_eq!(other.block_on(b).unwrap(), 2);
        assert_eq!(one.block_on(a).unwrap(), 1);
        assert_eq!(one.block_on(c).unwrap(), 3);
        assert_eq!(scene.batches() - before, 1);
    });
}

/// The system refuses a thread, and the runtime keeps what that was to do.
#[test]
fn a_runtime_that_gets_no_thread_holds_up_no_other() {
    or_hang(|| {
        let scene = Scene::new();
        let before = scene.repo.stats().writes;
        // There is no room for such a stack.
        let bare = single_thread().thread_stack_size(1 << 60).build().unwrap();
        let error = bare.block_on(scene.say("nobody")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io), "{error:?}");
        assert_eq!(runtime().block_on(scene.say("a")).unwrap(), 1);
        assert_eq!(scene.said(), ["a"]);
        assert_eq!(scene.repo.stats().writes - before, 1);
    });
}
