//! How waiting threads sleep and are woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::Instant;

/// Threads that one system call wakes together. Each then looks for its own news, and may sleep again.
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

impl Wake for WakeGroup {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }
}

impl WakeGroup {
    /// Wakes all threads of the group.
    pub(crate) fn wake(&self) {
        if self.has_sleepers.swap(false, Ordering::SeqCst) {
            drop(self.falling_asleep());
            self.changed.notify_all();
        }
    }

    /// Sleeps until `look` finds something, and returns it, or `None` after `until`. Looks again whenever the
    /// group is woken.
    pub(crate) fn sleep<T>(
        &self,
        until: Option<Instant>,
        look: impl Fn() -> Option<T>,
    ) -> Option<T> {
        let mut awake = self.falling_asleep();
        loop {
            self.has_sleepers.store(true, Ordering::SeqCst);
            // Every reply from now on is followed by a wake-up.
            if let Some(found) = look() {
                return Some(found);
            }
            let Some(until) = until else {
                let woken = self.changed.wait(awake);
                awake = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let time = until.saturating_duration_since(Instant::now());
            if time.is_zero() {
                return None;
            }
            let woken = self.changed.wait_timeout(awake, time);
            awake = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn falling_asleep(&self) -> MutexGuard<'_, ()> {
        // The mutex guards no data that a panic could leave inconsistent.
        self.falling_asleep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
