use std::fmt;
use std::time::{Duration, Instant};

use turnkeep_model::TaskId;

/// One call of a public method: what its errors name, and how long it may still wait.
///
/// All waits of a call (its place in the queue, a pooled connection, SQLite's locks) share the
/// one deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    task_id: Option<&'a TaskId>,
}

impl<'a> Call<'a> {
    pub(crate) fn on_task(operation: &'static str, task_id: &'a TaskId) -> Self {
        Self {
            operation,
            task_id: Some(task_id),
        }
    }

    pub(crate) fn on_store(operation: &'static str) -> Self {
        Self {
            operation,
            task_id: None,
        }
    }

    /// Returns the thing the call is about, in words.
    pub(crate) fn subject(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task_id {
            Some(task_id) => write!(f, "task `{task_id}`"),
            None => f.write_str("the store"),
        }
    }
}

/// The moment until which a call may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// Timeouts longer than this are cut to it, so that no addition overflows.
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    pub(crate) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout.min(Self::LONGEST))
    }

    pub(crate) fn instant(self) -> Instant {
        self.0
    }

    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
