//! The helpers of the tests.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::Connection as _;
use diesel::connection::SimpleConnection;
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle, Runtime};
use turnkeep_model::{NewMessage, NewTask, Role, Seq, TaskId};

use crate::base::error::Result;
use crate::base::options::RepoBuilder;
use crate::sqlite::Conn;
use crate::{AsyncRepo, Repo};

/// A store with the task `t`, and a way to keep its file locked.
pub(super) struct Scene {
    pub(super) folder: TempDir,
    pub(super) repo: AsyncRepo,
    pub(super) task: TaskId,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(super) fn with(settings: impl FnOnce(RepoBuilder) -> RepoBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // So long that nobody gives up, whatever the machine does.
        let builder = Repo::builder(folder.path().join("store.db"));
        let builder = settings(builder.timeout(Duration::from_secs(600)));
        let repo = builder.open().unwrap();
        let task = TaskId::new("t").unwrap();
        repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
        let repo = repo.into();
        Self { folder, repo, task }
    }

    /// Locks the file as another program does, until what is returned is dropped.
    pub(super) fn lock(&self) -> Conn {
        let path = self.folder.path().join("store.db");
        let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE")
            .unwrap();
        conn
    }

    pub(super) fn queued(&self) -> usize {
        self.repo.repo.store.sqlite().writer.queued()
    }

    /// How many transactions there have been.
    pub(super) fn batches(&self) -> u64 {
        self.repo.stats().batches
    }

    /// Says something, without borrowing.
    pub(super) fn say(&self, content: &str) -> impl Future<Output = Result<Seq>> + Send + use<> {
        let (repo, task, content) = (self.repo.clone(), self.task.clone(), content.to_owned());
        async move { repo.save_message(&task, Role::User, &content).await }
    }

    /// As [`say`](Self::say), but does not ask the clock.
    pub(super) fn say_with_time(
        &self,
        content: &'static str,
    ) -> impl Future<Output = Result<Vec<Seq>>> + Send + use<> {
        let (repo, task) = (self.repo.clone(), self.task.clone());
        async move {
            let message = NewMessage::new(Role::User, content).timestamp(DateTime::UNIX_EPOCH);
            repo.save_messages(&task, &[message]).await
        }
    }

    /// All that was said, in order.
    pub(super) fn said(&self) -> Vec<String> {
        let history = self.repo.repo().get_history(&self.task).unwrap();
        let seqs = history.iter().map(|turn| turn.seq);
        assert!(seqs.eq(1..=history.len() as i64), "without a gap");
        history.into_iter().map(|turn| turn.content).collect()
    }
}

pub(super) fn two_workers() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time();
    builder
}

pub(super) fn single_thread() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_time();
    builder
}

pub(super) fn runtime() -> Runtime {
    two_workers().build().unwrap()
}

/// Polls a future for the first time, which has to wait then.
pub(super) fn started<F: Future>(runtime: &Handle, future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let polled = poll_once(runtime, future.as_mut());
    assert!(polled.is_pending());
    future
}

pub(super) fn poll_once<F: Future>(runtime: &Handle, future: Pin<&mut F>) -> Poll<F::Output> {
    let _entered = runtime.enter();
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub(super) fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// Runs a test that would hang if it failed. Nothing is timed: the limit only ends it then.
pub(super) fn or_hang(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        done.send(())
    });
    match is_done.recv_timeout(Duration::from_secs(120)) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => panic!("hangs"),
        Err(RecvTimeoutError::Disconnected) => resume_unwind(thread.join().unwrap_err()),
    }
}

/// A clock that panics once it was asked as often as it may be.
pub(super) fn breaking_clock() -> (Arc<AtomicI64>, impl Fn() -> DateTime<Utc> + Send + Sync) {
    let calls_left = Arc::new(AtomicI64::new(i64::MAX));
    let left = Arc::clone(&calls_left);
    let clock = move || {
        assert!(left.fetch_sub(1, Ordering::Relaxed) > 0, "broken clock");
        DateTime::UNIX_EPOCH
    };
    (calls_left, clock)
}

/// Holds a write up in the middle of its transaction.
pub(super) struct Stop {
    is_set: Arc<AtomicBool>,
    reached: Receiver<()>,
    go_on: Sender<()>,
}

impl Stop {
    /// Returns a stop and the clock that heeds it.
    pub(super) fn new() -> (Self, impl Fn() -> DateTime<Utc> + Send + Sync) {
        let (reach, reached) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        let is_set = Arc::new(AtomicBool::new(false));
        let stop = Self {
            is_set: Arc::clone(&is_set),
            reached,
            go_on,
        };
        let channels = Mutex::new((reach, may_go_on));
        let clock = move || {
            if is_set.swap(false, Ordering::SeqCst) {
                let channels = channels.lock().unwrap();
                channels.0.send(()).unwrap();
                channels.1.recv().unwrap();
            }
            DateTime::UNIX_EPOCH
        };
        (stop, clock)
    }

    /// Blocks the next reader of the clock.
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
    }

    pub(super) fn wait_until_reached(&self) {
        self.reached.recv().unwrap();
    }

    pub(super) fn let_go(&self) {
        self.go_on.send(()).unwrap();
    }
}
