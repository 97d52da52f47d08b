//! How a waiting thread learns what to do next, and how it is woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::commit::job::QueuedJob;

/// The state of a waiting thread.
pub(crate) struct WaiterState<C>(parking_lot::Mutex<Status<C>>);

pub(crate) enum Status<C> {
    Waiting,
    /// The thread leads.
    ToLead,
    /// The thread runs its own job.
    Alone(QueuedJob<C>),
    Done,
}

impl<C> WaiterState<C> {
    pub(crate) fn new() -> Self {
        Self(parking_lot::Mutex::new(Status::Waiting))
    }

    /// Sets the status, without waking the thread.
    pub(crate) fn set(&self, status: Status<C>) {
        *self.0.lock() = status;
    }

    /// Returns the status and sets it back to `Waiting`, except for `Done`, which stays.
    pub(crate) fn take(&self) -> Status<C> {
        let mut status = self.0.lock();
        match *status {
            Status::Done => Status::Done,
            _ => std::mem::replace(&mut *status, Status::Waiting),
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(*self.0.lock(), Status::Waiting)
    }

    pub(crate) fn is_to_lead(&self) -> bool {
        matches!(*self.0.lock(), Status::ToLead)
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.0.lock(), Status::Done)
    }
}

/// Threads that one system call wakes together. Each then looks at its status, and may sleep again.
///
/// The standard library's condition variable does that. With `parking_lot`'s, each thread wakes the next,
/// which costs as many context switches as one condition variable per thread. (`thread::park` would
/// collide with a host that uses it too.)
#[derive(Default)]
pub(crate) struct WakeGroup {
    /// Whether a thread may sleep that was not woken yet.
    has_sleepers: AtomicBool,
    falling_asleep: Mutex<()>,
    changed: Condvar,
}

impl WakeGroup {
    /// Wakes all threads of the group.
    pub(crate) fn wake(&self) {
        if self.has_sleepers.swap(false, Ordering::SeqCst) {
            drop(self.falling_asleep());
            self.changed.notify_all();
        }
    }

    /// Sleeps until the status of the thread changes, or until `until`. May return early, when the status
    /// of another thread of the group changes.
    pub(crate) fn sleep<C>(&self, state: &WaiterState<C>, until: Option<Instant>) {
        let awake = self.falling_asleep();
        self.has_sleepers.store(true, Ordering::SeqCst);
        // A status that is set from now on is followed by a wake-up.
        if !state.is_waiting() {
            return;
        }
        match until {
            Some(until) => {
                let time = until.saturating_duration_since(Instant::now());
                drop(self.changed.wait_timeout(awake, time));
            }
            None => drop(self.changed.wait(awake)),
        }
    }

    fn falling_asleep(&self) -> MutexGuard<'_, ()> {
        // The mutex guards no data that a panic could leave inconsistent.
        self.falling_asleep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
