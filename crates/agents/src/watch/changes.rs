use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::ModifyKind;
use notify::{Event, EventKind};

/// The most paths that are kept. With more all files are looked at.
const MAX_PATHS: usize = 10_000;

/// A write is mostly followed by more. They are imported together after this time without another.
const QUIET: Duration = Duration::from_millis(200);

/// The longest that changes are collected.
const COLLECT: Duration = Duration::from_secs(1);

/// Ends a [`watch`](crate::watch()), from any thread.
#[derive(Debug, Clone, Default)]
pub struct WatchStop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    has_changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    changes: Changes,
    /// The number of events that told of these changes.
    events: u64,
    is_stopped: bool,
}

/// The changes since the last time.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) paths: BTreeSet<PathBuf>,
    /// Whether changes were lost.
    pub(super) are_incomplete: bool,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.are_incomplete
    }
}

impl WatchStop {
    /// Makes the handle for one call of [`watch`](crate::watch()).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the watch import what has changed until now, and return. Does not wait for it.
    pub fn stop(&self) {
        self.lock().is_stopped = true;
        self.0.has_changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    /// Notes the change of a file. An access and a change of its metadata are none.
    pub(super) fn add(&self, event: notify::Result<Event>) {
        let Ok(event) = event else {
            self.change(|changes| changes.are_incomplete = true);
            return;
        };
        let is_change = !matches!(
            event.kind,
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_))
        );
        if is_change || event.need_rescan() {
            self.change(|changes| {
                changes.are_incomplete |= event.need_rescan();
                changes.paths.extend(event.paths);
                if changes.paths.len() > MAX_PATHS {
                    changes.paths.clear();
                    changes.are_incomplete = true;
                }
            });
        }
    }

    /// Waits for changes until `timeout` has passed or the watch is stopped, and takes them.
    pub(super) fn take(&self, timeout: Duration) -> Changes {
        let mut state = self.lock();
        let is_idle = |state: &mut State| !state.is_stopped && state.changes.is_empty();
        let waited = self
            .0
            .has_changed
            .wait_timeout_while(state, timeout, is_idle);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let begun = Instant::now();
        let mut events = 0;
        while !state.is_stopped && state.events != events && begun.elapsed() < COLLECT {
            events = state.events;
            let is_running = |state: &mut State| !state.is_stopped;
            let waited = self
                .0
                .has_changed
                .wait_timeout_while(state, QUIET, is_running);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.events = 0;
        std::mem::take(&mut state.changes)
    }

    fn change(&self, change: impl FnOnce(&mut Changes)) {
        let mut state = self.lock();
        change(&mut state.changes);
        state.events += 1;
        drop(state);
        self.0.has_changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, DataChange, Flag, MetadataKind};

    use super::*;

    fn event(kind: EventKind, name: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(name.into()))
    }

    #[test]
    fn accesses_are_no_changes() {
        let stop = WatchStop::new();
        stop.add(event(EventKind::Access(AccessKind::Any), "a"));
        stop.add(event(
            EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
            "a",
        ));
        assert!(stop.take(Duration::ZERO).is_empty());
        stop.add(event(EventKind::Create(CreateKind::File), "a"));
        stop.add(event(
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
            "b",
        ));
        let changes = stop.take(Duration::ZERO);
        assert_eq!(changes.paths, ["a", "b"].map(PathBuf::from).into());
        assert!(!changes.are_incomplete);
        assert!(stop.take(Duration::ZERO).is_empty());
    }

    #[test]
    fn lost_changes_are_noted() {
        let stop = WatchStop::new();
        stop.add(Err(notify::Error::generic("x")));
        assert!(stop.take(Duration::ZERO).are_incomplete);
        stop.add(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(stop.take(Duration::ZERO).are_incomplete);
        for number in 0..=MAX_PATHS {
            stop.add(event(EventKind::Any, &number.to_string()));
        }
        let changes = stop.take(Duration::ZERO);
        assert!(changes.are_incomplete && changes.paths.is_empty());
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = WatchStop::new();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| stop.take(Duration::MAX));
            stop.stop();
            assert!(waiting.join().unwrap().is_empty());
        });
        assert!(stop.is_stopped());
    }
}
