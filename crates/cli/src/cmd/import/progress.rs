use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use indicatif::ProgressBar;
use turnkeep_recordings::Source;

use crate::failure::warn;
use crate::interrupt::on_interrupt;
use crate::output::{counted, progress_bar};

/// The progress of an import, on standard error.
pub(super) struct Progress {
    bar: ProgressBar,
    stored: Arc<Stored>,
}

#[derive(Default)]
struct Stored {
    sessions: AtomicU64,
    turns: AtomicI64,
}

impl Progress {
    const TEMPLATE: &str = "{spinner} [{bar:20}] {bytes}/{total_bytes}{left}{msg}";

    /// Shows the bar, if it `is_wanted`. From now on Ctrl-C says what is stored.
    pub(super) fn start(sources: &[Source], is_wanted: bool) -> anyhow::Result<Self> {
        let bytes = sources.iter().map(Source::bytes).sum();
        let bar = progress_bar(bytes, Self::TEMPLATE, is_wanted);
        let stored = Arc::new(Stored::default());
        let (of_bar, of_stored) = (bar.clone(), Arc::clone(&stored));
        on_interrupt(move || {
            of_bar.finish_and_clear();
            warn(format_args!(
                "interrupted; stored by now: {}, {}; another import goes on from there",
                counted(of_stored.sessions.load(Ordering::Relaxed), "session"),
                counted(of_stored.new_turns(), "new turn"),
            ));
        })?;
        Ok(Self { bar, stored })
    }

    pub(super) fn source_done(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    pub(super) fn session_done(&self) {
        let sessions = self.stored.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar
            .set_message(format!(", {}", counted(sessions, "session")));
    }

    pub(super) fn turns_done(&self, count: i64) {
        self.stored.turns.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes the bar away while something else is printed.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Stored {
    fn new_turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressStyle;

    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(Progress::TEMPLATE).is_ok());
    }
}
