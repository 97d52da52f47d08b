use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, if that is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    sessions: Cell<u64>,
    turns: Cell<i64>,
}

impl Progress {
    pub(super) fn new(sources: usize, is_wanted: bool) -> Self {
        let target = if is_wanted {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(sources as u64), target);
        // The template is checked by a test; the default bar does as well.
        if let Ok(style) = ProgressStyle::with_template(Self::TEMPLATE) {
            bar.set_style(style);
        }
        // A large file takes a while to read, without anything to count.
        bar.enable_steady_tick(Duration::from_millis(100));
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
        self.say();
    }

    pub(super) fn turns_done(&self, count: i64) {
        self.turns.set(self.turns.get() + count);
        self.say();
    }

    fn say(&self) {
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
    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(Progress::TEMPLATE).is_ok());
    }
}
