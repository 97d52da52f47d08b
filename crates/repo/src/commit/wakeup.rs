//! How a caller that waits in the queue is told what becomes of its write, and woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::commit::job::Job;

/// What a caller that waits is told.
#[derive(Default)]
pub(crate) struct Signal(parking_lot::Mutex<Status>);

#[derive(Default)]
pub(crate) enum Status {
    #[default]
    Waiting,
    /// To write what waits.
    ToLead,
    /// To do its own write by itself.
    Alone(Box<dyn Job>),
    Done,
}

impl Signal {
    /// Tells the caller something, which it sees when it is awake. This wakes nobody.
    pub(crate) fn set(&self, status: Status) {
        *self.0.lock() = status;
    }

    /// Returns what the caller was told. Only that its write is done is returned more than once.
    pub(crate) fn take(&self) -> Status {
        let mut status = self.0.lock();
        match *status {
            Status::Done => Status::Done,
            _ => std::mem::take(&mut *status),
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

/// Callers that sleep until one call wakes them all. Each then looks what it was told, and may sleep
/// again.
///
/// With the standard library's condition variable that is one call to the system. That of
/// `parking_lot` has each sleeper wake the next, and the system switches threads as often as for a
/// condition of each one's own. (Not `thread::park`: the host may use that as well, and one would
/// take the other's wake-ups.)
#[derive(Default)]
pub(crate) struct Round {
    /// Whether someone may sleep who was not yet woken.
    has_sleepers: AtomicBool,
    falling_asleep: Mutex<()>,
    changed: Condvar,
}

impl Round {
    /// Wakes all who sleep here, told or not.
    pub(crate) fn wake(&self) {
        if self.has_sleepers.swap(false, Ordering::SeqCst) {
            drop(self.falling_asleep());
            self.changed.notify_all();
        }
    }

    /// Sleeps until the caller is told something, or until the time comes. Returns before that, too,
    /// when others are told something.
    pub(crate) fn sleep(&self, signal: &Signal, until: Option<Instant>) {
        let awake = self.falling_asleep();
        self.has_sleepers.store(true, Ordering::SeqCst);
        // Whoever tells it something from now on finds it asleep.
        if !signal.is_waiting() {
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

    /// What is guarded is nothing that a panic could have left half done.
    fn falling_asleep(&self) -> MutexGuard<'_, ()> {
        self.falling_asleep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
