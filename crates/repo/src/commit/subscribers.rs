//! The callers that wait for new turns.
//!
//! A subscriber registers, reads, and sleeps if there was nothing to read. A commit of this process wakes the
//! subscribers of its task. For the commits of other processes one caller has the watch: it looks at the
//! store at intervals and wakes the subscribers that have turns to read. A thread looks while it waits for its own
//! turns. Futures can't be relied on to be polled; for them the thread of the pools looks, and a task of their runtime
//! reads what has changed.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use turnkeep_model::{Seq, TaskId};

/// How long after a look the next one is due.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(75);

/// How long after a failed look the next one is due.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// How late a look may be before a waiting thread does it for the caller that has the watch.
const LATEST_LOOK: Duration = Duration::from_millis(300);

/// The subscribers of a store.
#[derive(Default)]
pub(crate) struct Subscribers {
    /// The number of subscribers, which every commit reads.
    count: AtomicUsize,
    /// Whether a caller has the watch. Always true where nobody has to look.
    is_watched: AtomicBool,
    by_task: Mutex<HashMap<TaskId, Vec<Arc<Subscriber>>>>,
    /// `None` before a caller first takes the watch.
    next_look: Mutex<Option<Instant>>,
}

struct Subscriber {
    task_id: TaskId,
    /// The last turn that it has read.
    after: Option<Seq>,
    /// Whether a thread waits, not a future.
    is_thread: bool,
    has_news: AtomicBool,
    /// `None` before a future is polled.
    waker: Mutex<Option<Waker>>,
}

impl Subscribers {
    /// For a store in memory, where no other process writes.
    pub(crate) fn never_look(&self) {
        self.is_watched.store(true, Ordering::SeqCst);
    }

    /// Registers a subscriber. Later commits wake it, so the caller reads the history after this. A thread gives its
    /// waker now, a future whenever it is polled.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        task_id: &TaskId,
        after: Option<Seq>,
        thread: Option<Waker>,
    ) -> Subscription {
        let subscriber = Arc::new(Subscriber {
            task_id: task_id.clone(),
            after,
            is_thread: thread.is_some(),
            has_news: AtomicBool::new(false),
            waker: Mutex::new(thread),
        });
        let mut by_task = self.by_task.lock();
        let of_task = by_task.entry(task_id.clone()).or_default();
        of_task.push(Arc::clone(&subscriber));
        drop(by_task);
        self.count.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Subscription {
            subscribers: Arc::clone(self),
            subscriber,
        }
    }

    /// Whether nobody subscribes. For a caller that has just committed: a subscriber that registers later reads what was
    /// committed.
    pub(crate) fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Wakes the subscribers of a task that was written to.
    pub(crate) fn changed(&self, task_id: &TaskId) {
        let by_task = self.by_task.lock();
        let of_task = by_task.get(task_id).into_iter().flatten();
        let wakers = of_task.filter_map(|subscriber| subscriber.news()).collect();
        drop(by_task);
        wake(wakers);
    }

    /// Wakes the subscribers for which `has_news`, given a task and the last seq that the subscriber has read.
    pub(crate) fn wake_if(&self, has_news: impl Fn(&TaskId, Option<Seq>) -> bool) {
        let by_task = self.by_task.lock();
        let all = by_task.values().flatten();
        let with_news = all.filter(|subscriber| has_news(&subscriber.task_id, subscriber.after));
        let wakers = with_news
            .filter_map(|subscriber| subscriber.news())
            .collect();
        drop(by_task);
        wake(wakers);
    }

    /// Returns the tasks that have subscribers.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        self.by_task.lock().keys().cloned().collect()
    }

    /// Notes that the watch has looked, and is to look again after this pause. If it failed, all subscribers read: their
    /// reads repair the fault, or return it.
    pub(crate) fn looked(&self, pause: Option<Duration>) {
        if pause.is_none() {
            self.wake_if(|_, _| true);
        }
        *self.next_look.lock() = Some(Instant::now() + pause.unwrap_or(PAUSE_AFTER_FAILURE));
    }

    /// Returns the time until the next look is due.
    #[cfg(feature = "tokio")]
    pub(crate) fn time_to_look(&self) -> Duration {
        let next_look = self.next_look.lock();
        next_look.map_or(Duration::ZERO, |next| {
            next.saturating_duration_since(Instant::now())
        })
    }

    #[cfg(all(test, feature = "tokio"))]
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    #[cfg(all(test, feature = "tokio"))]
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::SeqCst)
    }

    /// Takes the watch if nobody has it.
    pub(crate) fn take_watch(self: &Arc<Self>) -> Option<Watch> {
        let is_watched = self.is_watched.swap(true, Ordering::SeqCst);
        (!is_watched).then(|| {
            self.next_look.lock().get_or_insert_with(Instant::now);
            Watch(Arc::clone(self))
        })
    }

    /// When a thread without the watch looks. A runtime that nobody drives can't tell that it doesn't.
    pub(crate) fn overdue_look(&self) -> Option<Instant> {
        self.next_look.lock().map(|next| next + LATEST_LOOK)
    }

    /// Wakes a subscriber that takes the watch. One thread is enough; a future may not be polled, hence all of them.
    fn find_watch(&self) {
        let by_task = self.by_task.lock();
        let mut all = by_task.values().flatten();
        let wakers = match all.find(|subscriber| subscriber.is_thread) {
            Some(thread) => Vec::from_iter(thread.waker()),
            None => by_task
                .values()
                .flatten()
                .filter_map(|it| it.waker())
                .collect(),
        };
        drop(by_task);
        wake(wakers);
    }
}

/// Wakes callers. The waker of a host may panic, and the others must wake all the same.
fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl Subscriber {
    /// Notes that there may be turns to read, and returns the waker.
    fn news(&self) -> Option<Waker> {
        self.has_news.store(true, Ordering::SeqCst);
        self.waker()
    }

    fn waker(&self) -> Option<Waker> {
        self.waker.lock().clone()
    }
}

/// A registered subscriber.
pub(crate) struct Subscription {
    subscribers: Arc<Subscribers>,
    subscriber: Arc<Subscriber>,
}

impl Subscription {
    /// Whether there may be turns to read since the last call.
    pub(crate) fn take_news(&self) -> bool {
        self.subscriber.has_news.swap(false, Ordering::SeqCst)
    }

    /// Whether the caller has to wake: there is news, or nobody has the watch.
    pub(crate) fn is_due(&self) -> bool {
        self.subscriber.has_news.load(Ordering::SeqCst)
            || !self.subscribers.is_watched.load(Ordering::SeqCst)
    }

    /// Sets the waker of a future.
    #[cfg(feature = "tokio")]
    pub(crate) fn wake_by(&self, waker: &Waker) {
        self.subscriber
            .waker
            .lock()
            .clone_from(&Some(waker.clone()));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut by_task = self.subscribers.by_task.lock();
        if let Some(of_task) = by_task.get_mut(&self.subscriber.task_id) {
            of_task.retain(|subscriber| !Arc::ptr_eq(subscriber, &self.subscriber));
            if of_task.is_empty() {
                by_task.remove(&self.subscriber.task_id);
            }
        }
        drop(by_task);
        self.subscribers.count.fetch_sub(1, Ordering::SeqCst);
        // It may have been woken to take the watch.
        if !self.subscribers.is_watched.load(Ordering::SeqCst) {
            self.subscribers.find_watch();
        }
    }
}

/// The duty to look at the store while callers wait. Dropping it hands it over.
pub(crate) struct Watch(Arc<Subscribers>);

impl Watch {
    /// When to look next. However often the watch changes hands, looks come no later than that.
    pub(crate) fn next_look(&self) -> Instant {
        self.0.next_look.lock().unwrap_or_else(Instant::now)
    }

    /// Whether nobody subscribes.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.is_watched.store(false, Ordering::SeqCst);
        self.0.find_watch();
    }
}
