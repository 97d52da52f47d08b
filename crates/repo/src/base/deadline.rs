use std::time::{Duration, Instant};

/// The moment until which a call may wait. All waits of a call (its place in the queue, a pooled
/// connection, the locks of the database) share one deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    pub(crate) fn instant(self) -> Instant {
        self.0
    }

    /// Returns this deadline, or an earlier one that leaves at most `time`.
    pub(crate) fn at_most(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }

    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
