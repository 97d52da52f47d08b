use std::path::Path;
use std::time::{Duration, Instant};

use turnkeep_model::{TaskId, visible, visible_path};

/// The operation in errors of opening a store.
pub(crate) const OPEN: &str = "open";

/// One call of a public method: what its errors name, and how long it may still wait.
///
/// All waits of a call (its place in the queue, a pooled connection, SQLite's locks) share the
/// one deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    subject: Subject<'a>,
    place: Option<Place>,
}

/// Which store a call is about that has to do with two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Source,
    Destination,
}

#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    Task(&'a TaskId),
    Store,
    File(&'a Path),
}

impl<'a> Call<'a> {
    pub(crate) fn on_task(operation: &'static str, task_id: &'a TaskId) -> Self {
        Self::new(operation, Subject::Task(task_id))
    }

    pub(crate) fn on_store(operation: &'static str) -> Self {
        Self::new(operation, Subject::Store)
    }

    pub(crate) fn on_file(operation: &'static str, file: &'a Path) -> Self {
        Self::new(operation, Subject::File(file))
    }

    fn new(operation: &'static str, subject: Subject<'a>) -> Self {
        Self {
            operation,
            subject,
            place: None,
        }
    }

    /// Says which task of the store it is about.
    pub(crate) fn about<'b>(self, task_id: &'b TaskId) -> Call<'b> {
        Call {
            operation: self.operation,
            subject: Subject::Task(task_id),
            place: self.place,
        }
    }

    /// Says which of two stores it is about.
    pub(crate) fn at(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    /// Returns the thing the call is about, in words.
    pub(crate) fn subject(&self) -> String {
        match (self.subject, self.place) {
            (Subject::Task(task_id), _) => self.task(task_id),
            (Subject::Store, None) => "the store".to_owned(),
            (Subject::Store, Some(Place::Source)) => "the source".to_owned(),
            (Subject::Store, Some(Place::Destination)) => "the destination".to_owned(),
            (Subject::File(file), _) => visible_path(file),
        }
    }

    /// Returns a task of the store that the call is about, in words.
    pub(crate) fn task(&self, task_id: &TaskId) -> String {
        let place = match self.place {
            None => "",
            Some(Place::Source) => " at the source",
            Some(Place::Destination) => " at the destination",
        };
        format!("task `{}`{place}", visible(task_id.as_str()))
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
