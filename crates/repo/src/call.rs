use std::path::Path;
use std::time::{Duration, Instant};

use turnkeep_model::TaskId;

/// One call of a public method: what its errors name, and how long it may still wait.
///
/// All waits of a call (its place in the queue, a pooled connection, SQLite's locks) share the
/// one deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    subject: Subject<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    Task(&'a TaskId),
    Store,
    File(&'a Path),
}

impl<'a> Call<'a> {
    pub(crate) fn on_task(operation: &'static str, task_id: &'a TaskId) -> Self {
        let subject = Subject::Task(task_id);
        Self { operation, subject }
    }

    pub(crate) fn on_store(operation: &'static str) -> Self {
        let subject = Subject::Store;
        Self { operation, subject }
    }

    pub(crate) fn on_file(operation: &'static str, file: &'a Path) -> Self {
        let subject = Subject::File(file);
        Self { operation, subject }
    }

    /// Returns the task the call is about, if it is about one.
    pub(crate) fn task_id(&self) -> Option<&'a TaskId> {
        match self.subject {
            Subject::Task(task_id) => Some(task_id),
            Subject::Store | Subject::File(_) => None,
        }
    }

    /// Returns the thing the call is about, in words.
    pub(crate) fn subject(&self) -> String {
        match self.subject {
            Subject::Task(task_id) => format!("task `{task_id}`"),
            Subject::Store => "the store".to_owned(),
            Subject::File(file) => file.display().to_string(),
        }
    }
}

/// The moment until which a call may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    pub(crate) fn instant(self) -> Instant {
        self.0
    }

    /// Returns this, or an earlier one that leaves at most `time`.
    #[cfg(feature = "postgres")]
    pub(crate) fn at_most(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }

    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
