use std::path::Path;

use turnkeep_model::{TaskId, visible, visible_path};

/// The operation in errors of opening a store.
pub(crate) const OPEN: &str = "open";

/// The name of a public method and the subject of a call to it, for errors and traces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) name: &'static str,
    subject: Subject<'a>,
    role: Option<StoreRole>,
}

/// The store that a call is about, when it works on two.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "hidden: for turnkeep-admin")]
pub enum StoreRole {
    /// The store that is read.
    Source,
    /// The store that is written.
    Destination,
}

#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    Task(&'a TaskId),
    Store,
    File(&'a Path),
    Named(&'a str),
}

impl<'a> Operation<'a> {
    pub(crate) fn on_task(name: &'static str, task_id: &'a TaskId) -> Self {
        Self::new(name, Subject::Task(task_id))
    }

    pub(crate) fn on_store(name: &'static str) -> Self {
        Self::new(name, Subject::Store)
    }

    pub(crate) fn on_file(name: &'static str, file: &'a Path) -> Self {
        Self::new(name, Subject::File(file))
    }

    /// For a subject that is neither a task, the store nor a file.
    pub(crate) fn on_named(name: &'static str, subject: &'a str) -> Self {
        Self::new(name, Subject::Named(subject))
    }

    fn new(name: &'static str, subject: Subject<'a>) -> Self {
        Self {
            name,
            subject,
            role: None,
        }
    }

    /// Narrows the subject down to a task of the store.
    pub(crate) fn about(self, task_id: &'a TaskId) -> Self {
        Self {
            subject: Subject::Task(task_id),
            ..self
        }
    }

    pub(crate) fn at(self, role: StoreRole) -> Self {
        Self {
            role: Some(role),
            ..self
        }
    }

    pub(crate) fn task_id(&self) -> Option<&'a TaskId> {
        match self.subject {
            Subject::Task(task_id) => Some(task_id),
            _ => None,
        }
    }

    /// Returns the subject in words that are safe to print.
    pub(crate) fn subject(&self) -> String {
        let (store, at_store) = match self.role {
            None => ("the store", ""),
            Some(StoreRole::Source) => ("the source", " at the source"),
            Some(StoreRole::Destination) => ("the destination", " at the destination"),
        };
        match self.subject {
            Subject::Task(task_id) => format!("task `{}`{at_store}", visible(task_id.as_str())),
            Subject::Store => store.to_owned(),
            Subject::File(file) => visible_path(file),
            Subject::Named(subject) => subject.to_owned(),
        }
    }
}
