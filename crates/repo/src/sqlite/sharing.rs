//! Fairness between the processes that write to a store.
//!
//! SQLite's lock goes to the process that asks at the right moment, most often the one that has just released
//! it: others wait for seconds. Asking again and again also keeps the log from being reset, because it begins
//! with a read, so that the log grows and every commit tries to move it.
//!
//! So a process that has found others writing pauses after each of its time slices, and takes a lock of its own
//! kind before it asks SQLite: `flock` on the log, which SQLite does not use. Only fairness depends on this
//! lock: a process that does not get it for a while asks SQLite all the same, as other programs do. A process
//! that is alone never takes it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::base::stats::Counters;

/// The pause between two attempts to lock. It shrinks with the wait, so that the process that has waited
/// longest is likely to be the next.
const SLOWEST_POLL: Duration = Duration::from_micros(600);
const POLL: Duration = Duration::from_micros(100);

/// The time slice of a process while others want to write.
const SLICE: Duration = Duration::from_millis(2);

/// The pause after a time slice, long enough for the others to ask.
const REST: Duration = Duration::from_micros(300);

/// The time without other writers after which a process counts as alone.
const MEMORY: Duration = Duration::from_millis(50);

/// The longest wait for a process that holds the lock and may have been stopped.
const PATIENCE: Duration = Duration::from_millis(100);

/// A use of the writing connection. Releases the lock when it is dropped.
pub(crate) struct WriteSlot<'s>(pub(crate) &'s mut Sharing);

impl Drop for WriteSlot<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The other processes that write to the store, as far as this one has met them.
pub(crate) struct Sharing {
    /// The path of the log. `None` in memory, and where the builder turned fairness off.
    log: Option<PathBuf>,
    others: Option<Others>,
    /// The number of failed attempts to lock in the transaction under way.
    retries: u64,
    counters: Arc<Counters>,
}

struct Others {
    last_seen: Instant,
    slice_began: Option<Instant>,
    rest_until: Instant,
    /// The log, to be locked. `None` when it can't be.
    lock: Option<File>,
}

impl Sharing {
    pub(crate) fn new(log: Option<PathBuf>, counters: Arc<Counters>) -> Self {
        Self {
            log,
            others: None,
            retries: 0,
            counters,
        }
    }

    /// Waits for the lock, if there are other processes.
    pub(crate) fn wait_for_slot(&mut self, deadline: Deadline) {
        self.retries = 0;
        if let Some(others) = &self.others {
            let rest = others.rest_until.saturating_duration_since(Instant::now());
            thread::sleep(rest.min(deadline.remaining()));
            self.take_lock(deadline);
        }
    }

    /// Waits a little for the process that writes. Returns whether there is time to ask again.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> bool {
        let remaining = deadline.remaining();
        if remaining.is_zero() {
            return false;
        }
        self.count_retries(1);
        let now = Instant::now();
        match (&mut self.others, &self.log) {
            (None, Some(log)) => {
                self.others = Some(Others {
                    last_seen: now,
                    slice_began: None,
                    rest_until: now,
                    lock: File::open(log).ok(),
                });
                self.take_lock(deadline);
            }
            (others, _) => {
                if let Some(others) = others {
                    others.last_seen = now;
                }
                thread::sleep(POLL.min(remaining));
            }
        }
        true
    }

    fn count_retries(&mut self, retries: u64) {
        self.retries += retries;
        self.counters.lock_retries(retries);
    }

    /// Returns the number of failed attempts to lock in the transaction under way.
    pub(crate) fn retries(&self) -> u64 {
        self.retries
    }

    /// Takes the lock, or gives up after a while.
    fn take_lock(&mut self, deadline: Deadline) {
        let Some(others) = &mut self.others else {
            return;
        };
        let since = Instant::now();
        let mut retries = 0;
        while let Some(lock) = &others.lock
            && !try_lock(lock)
            && !deadline.remaining().is_zero()
        {
            if since.elapsed() > PATIENCE {
                // Do not wait for a stopped process at every transaction.
                others.lock = None;
                break;
            }
            retries += 1;
            let poll = SLOWEST_POLL.saturating_sub(since.elapsed() / 4).max(POLL);
            thread::sleep(poll.min(deadline.remaining()));
        }
        if retries > 0 {
            others.last_seen = Instant::now();
            others.slice_began = Some(others.last_seen);
        }
        self.count_retries(retries);
    }

    /// Releases the lock, and plans a pause at the end of the time slice.
    fn end(&mut self) {
        let Some(others) = &mut self.others else {
            return;
        };
        #[cfg(target_os = "linux")]
        if let Some(lock) = &others.lock {
            // It may not be held. Closing the file releases it at the latest.
            let _ = rustix::fs::flock(lock, rustix::fs::FlockOperation::Unlock);
        }
        let now = Instant::now();
        let slice_began = *others.slice_began.get_or_insert(now);
        if now.duration_since(others.last_seen) > MEMORY {
            self.others = None;
        } else if now.duration_since(slice_began) >= SLICE {
            others.slice_began = None;
            others.rest_until = now + REST;
        }
    }
}

/// Returns false while another process has the lock. A file that can't be locked counts as locked by this one.
#[cfg(target_os = "linux")]
fn try_lock(file: &File) -> bool {
    use rustix::fs::{FlockOperation, flock};

    let lock = flock(file, FlockOperation::NonBlockingLockExclusive);
    lock != Err(rustix::io::Errno::WOULDBLOCK)
}

#[cfg(not(target_os = "linux"))]
fn try_lock(_: &File) -> bool {
    true
}
