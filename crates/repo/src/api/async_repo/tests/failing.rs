//! Writes that go wrong: too late, refused, panicking.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use turnkeep_model::{MessageKey, NewMessage, Role, TaskId};

use super::scene::{Scene, Stop, breaking_clock, or_hang, runtime, started, wait_until};
use crate::base::error::ErrorKind;
use crate::base::options::RepoBuilder;

#[test]
fn all_who_wait_past_their_deadline_are_busy() {
    const CROWD: usize = 100;
    or_hang(|| {
        let runtime = runtime();
        let timeout = Duration::from_millis(200);
        let scene = Scene::with(|builder| builder.timeout(timeout));
        let lock = scene.lock();
        let say = |_| runtime.spawn(scene.say("too late"));
        let writers: Vec<_> = (0..CROWD).map(say).collect();
        for writer in writers {
            let error = runtime.block_on(writer).unwrap().unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Busy { timeout: t } if *t == timeout));
            assert!(error.is_retryable());
        }
        assert_eq!(scene.queued(), 0);
        drop(lock);
        assert_eq!(runtime.block_on(scene.say("in time")).unwrap(), 1);
        assert_eq!(scene.said(), ["in time"]);
        let stats = scene.repo.stats();
        assert_eq!((stats.busy, stats.failed), (CROWD as u64, 0));
        assert_eq!(stats.writes, 2, "the task and one message");
    });
}

/// The leader uses the deadline of the oldest waiter. When that one leaves, the others
/// still have all of their own time.
#[test]
fn a_dropped_future_leaves_nobody_its_deadline() {
    or_hang(|| {
        let runtime = runtime();
        let timeout = Duration::from_millis(500);
        let scene = Scene::with(|builder| builder.timeout(timeout));
        let _lock = scene.lock();
        let dropped = started(runtime.handle(), scene.say("dropped"));
        // The file has been asked for, in vain: some time has passed.
        wait_until(|| scene.repo.stats().lock_retries > 50);
        let start = Instant::now();
        let late = started(runtime.handle(), scene.say("late"));
        drop(dropped);
        let error = runtime.block_on(late).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
        assert!(start.elapsed() >= timeout, "not before its time");
    });
}

#[test]
fn a_refused_write_leaves_no_trace_and_fails_alone() {
    or_hang(|| {
        let runtime = runtime();
        let scene = Scene::new();
        let key = MessageKey::new("k").unwrap();
        let taken = [NewMessage::new(Role::User, "taken").key(key.clone())];
        let half = [
            NewMessage::new(Role::User, "half"),
            NewMessage::new(Role::User, "another").key(key),
        ];
        let half = || scene.repo.save_messages(&scene.task, &half);
        runtime.block_on(async {
            scene.repo.save_messages(&scene.task, &taken).await.unwrap();
            let error = half().await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::KeyConflict { .. }),
                "{error:?}"
            );
        });
        assert_eq!(scene.said(), ["taken"], "alone in its transaction");

        let before = scene.batches();
        let lock = scene.lock();
        let unknown = TaskId::new("unknown").unwrap();
        let unknown = scene.repo.save_message(&unknown, Role::User, "no");
        let a = started(runtime.handle(), scene.say("a"));
        let half = started(runtime.handle(), half());
        let unknown = started(runtime.handle(), unknown);
        let b = started(runtime.handle(), scene.say("b"));
        drop(lock);
        assert_eq!(runtime.block_on(a).unwrap(), 2);
        let error = runtime.block_on(half).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::KeyConflict { .. }),
            "{error:?}"
        );
        let error = runtime.block_on(unknown).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TaskNotFound), "{error:?}");
        assert_eq!(runtime.block_on(b).unwrap(), 3);
        assert_eq!(scene.batches() - before, 1);
        assert_eq!(scene.said(), ["taken", "a", "b"]);
        assert_eq!(scene.repo.stats().failed, 3);
    });
}

#[test]
fn a_panic_goes_on_in_the_task_that_asked_for_the_write() {
    or_hang(|| {
        let runtime = runtime();
        let (calls_left, clock) = breaking_clock();
        let scene = Scene::with(|builder| builder.clock(clock));
        let before = scene.batches();
        let lock = scene.lock();
        let mut queued = 0;
        let mut next = || {
            queued += 1;
            wait_until(|| scene.queued() == queued);
        };
        let a = runtime.spawn(scene.say_with_time("a"));
        next();
        let panics = runtime.spawn(scene.say("panics"));
        next();
        let b = runtime.spawn(scene.say_with_time("b"));
        next();
        let panics_too = runtime.spawn(scene.say("panics too"));
        next();
        let c = runtime.spawn(scene.say_with_time("c"));
        next();
        calls_left.store(0, Ordering::Relaxed);
        drop(lock);
        for (writer, seq) in [(a, 1), (b, 2), (c, 3)] {
            assert_eq!(runtime.block_on(writer).unwrap().unwrap(), [seq]);
        }
        for writer in [panics, panics_too] {
            let panic = runtime.block_on(writer).unwrap_err().into_panic();
            assert_eq!(panic.downcast_ref(), Some(&"broken clock"));
        }
        assert_eq!(scene.batches() - before, 1);
        calls_left.store(i64::MAX, Ordering::Relaxed);
        assert_eq!(runtime.block_on(scene.say("d")).unwrap(), 4);
        assert_eq!(scene.said(), ["a", "b", "c", "d"]);
    });
}

/// A future has its own deadline, also while the leader blocks.
#[test]
fn a_future_waits_for_no_other_write_beyond_its_deadline() {
    or_hang(|| {
        let (stop, clock) = Stop::new();
        let settings = |builder: RepoBuilder| builder.timeout(Duration::from_millis(200));
        let scene = Scene::with(|builder| settings(builder).clock(clock));
        let runtime = runtime();
        stop.set();
        let slow = runtime.spawn(scene.say("slow"));
        stop.wait_until_reached();
        let error = runtime.block_on(scene.say("too late")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
        assert_eq!(scene.queued(), 0);
        stop.let_go();
        // It had begun, so it is waited for.
        assert_eq!(runtime.block_on(slow).unwrap().unwrap(), 1);
        assert_eq!(scene.said(), ["slow"]);
    });
}
