//! The error of a crate from which a failure comes, without the errors around it.

use std::io;

use turnkeep_admin::Error as AdminError;
use turnkeep_agents::{
    HomeCheckError, HookError, ImportError, ImportFailure, ImportWarning, RestoreError,
};
use turnkeep_recordings::Error as RecordingError;
use turnkeep_repo::{Error as RepoError, InvalidValue, TaskId};
use turnkeep_search::Error as SearchError;

use super::Problem;

pub(super) enum Cause<'a> {
    Problem(&'a Problem),
    Store(&'a RepoError),
    Admin(&'a AdminError),
    Recording(&'a RecordingError),
    Restore(&'a RestoreError),
    Search(&'a SearchError),
    Warning(&'a ImportWarning),
    Invalid,
    Io(&'a io::Error),
    Other,
}

impl<'a> Cause<'a> {
    pub(super) fn of(error: &'a anyhow::Error) -> Self {
        if let Some(problem) = error.downcast_ref() {
            return Self::Problem(problem);
        }
        if let Some(error) = error.downcast_ref() {
            return Self::Store(error);
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                AdminError::Store(error) => Self::Store(error),
                _ => Self::Admin(error),
            };
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                RestoreError::Store(error) => Self::Store(error),
                RestoreError::Recording(error) => Self::Recording(error),
                _ => Self::Restore(error),
            };
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                SearchError::Store(error) => Self::Store(error),
                _ => Self::Search(error),
            };
        }
        if let Some(error) = error.downcast_ref() {
            return Self::of_hook(error);
        }
        if let Some(error) = error.downcast_ref() {
            return match error {
                HomeCheckError::Store(error) => Self::Store(error),
                HomeCheckError::Recordings(error) => Self::Recording(error),
                _ => Self::Other,
            };
        }
        if let Some(error) = error.downcast_ref() {
            return Self::of_import(error);
        }
        if let Some(error) = error.downcast_ref() {
            return Self::of_session(error);
        }
        if let Some(error) = error.downcast_ref() {
            return Self::Recording(error);
        }
        if let Some(warning) = error.downcast_ref() {
            return Self::Warning(warning);
        }
        if error.is::<InvalidValue>() {
            return Self::Invalid;
        }
        let mut causes = error.chain();
        causes
            .find_map(|cause| cause.downcast_ref())
            .map_or(Self::Other, Self::Io)
    }

    /// Returns the method of the library that failed.
    pub(super) fn operation(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => Some(error.operation()),
            Self::Admin(
                AdminError::Conflict { operation, .. } | AdminError::Text { operation, .. },
            ) => Some(operation),
            Self::Admin(AdminError::InvalidLine { .. }) => Some("import_jsonl"),
            Self::Search(SearchError::InvalidQuery { .. }) => Some("search"),
            Self::Search(
                SearchError::NotAnIndex { operation, .. }
                | SearchError::Busy { operation, .. }
                | SearchError::Damaged { operation, .. }
                | SearchError::File { operation, .. },
            ) => Some(operation),
            Self::Restore(_) => Some("restore"),
            _ => None,
        }
    }

    /// Returns the task that the failure is about.
    pub(super) fn task(&self) -> Option<&'a TaskId> {
        match *self {
            Self::Problem(problem) => problem.task.as_ref(),
            Self::Store(error) => error.task_id(),
            Self::Admin(AdminError::Conflict { task_id, .. })
            | Self::Restore(
                RestoreError::NothingKept { task_id } | RestoreError::NoWorkingDir { task_id },
            )
            | Self::Warning(
                ImportWarning::GoesOn { task_id, .. } | ImportWarning::OtherTask { task_id, .. },
            ) => Some(task_id),
            _ => None,
        }
    }

    fn of_hook(error: &'a HookError) -> Self {
        match error {
            HookError::Store(error) => Self::of_session(error),
            HookError::Import(failure) => Self::of_import(failure),
            HookError::Removed(warning) => Self::Warning(warning),
            _ => Self::Other,
        }
    }

    fn of_import(failure: &'a ImportFailure) -> Self {
        match failure {
            ImportFailure::Recording(error) => Self::Recording(error),
            ImportFailure::Session { source, .. } => Self::of_session(source),
            _ => Self::Other,
        }
    }

    fn of_session(error: &'a ImportError) -> Self {
        match error {
            ImportError::Store(error) => Self::Store(error),
            _ => Self::Other,
        }
    }
}
