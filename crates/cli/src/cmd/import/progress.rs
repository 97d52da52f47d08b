use std::cell::Cell;

use indicatif::ProgressBar;

use crate::output::progress_bar;

/// The progress of an import, on standard error.
pub(super) struct Progress {
    bar: ProgressBar,
    sessions: Cell<u64>,
    turns: Cell<i64>,
}

impl Progress {
    pub(super) fn new(sources: usize, is_wanted: bool) -> Self {
        let bar = progress_bar(sources as u64, Self::TEMPLATE, is_wanted);
        Self {
            bar,
            sessions: Cell::default(),
            turns: Cell::default(),
        }
    }

    const TEMPLATE: &str = "{spinner} [{bar:30}] {pos}/{len} files{msg}";

    pub(super) fn source_done(&self) {
        self.bar.inc(1);
    }

    pub(super) fn session_done(&self) {
        self.sessions.set(self.sessions.get() + 1);
        self.show();
    }

    pub(super) fn turns_done(&self, count: i64) {
        self.turns.set(self.turns.get() + count);
        self.show();
    }

    fn show(&self) {
        let (sessions, turns) = (self.sessions.get(), self.turns.get());
        self.bar
            .set_message(format!(", {sessions} sessions, {turns} new turns"));
    }

    /// Takes the bar away while something else is printed.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
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
