//! The kinds of failures, and the exit code of each.

use std::io;
use std::process::ExitCode;

use turnkeep_admin::Error as AdminError;
use turnkeep_agents::RestoreError;
use turnkeep_recordings::Error as RecordingError;
use turnkeep_repo::ErrorKind;
use turnkeep_search::Error as SearchError;

use super::cause::Cause;

/// The exit codes of failures. README.md and the help document them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Failure = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    /// The same command may succeed later.
    Busy = 5,
    /// `resume`: the agent will not find the session, and a restore would bring it back.
    NeedsRestore = 6,
    /// `resume`: no command resumes the session.
    NotResumable = 7,
}

impl Code {
    /// Returns the code of a command with these failures: what they share, else that of any failure.
    pub(crate) fn of_all(codes: impl IntoIterator<Item = Self>) -> Option<Self> {
        codes
            .into_iter()
            .reduce(|all, code| if code == all { all } else { Self::Failure })
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The name with `--json`.
    pub(crate) name: &'static str,
    pub(crate) code: Code,
}

impl Kind {
    pub(crate) const FAILED: Self = Self::new("failed", Code::Failure);
    pub(crate) const USAGE: Self = Self::new("usage", Code::Usage);
    pub(crate) const NOT_FOUND: Self = Self::new("not_found", Code::NotFound);
    pub(crate) const TASK_NOT_FOUND: Self = Self::new("task_not_found", Code::NotFound);
    pub(crate) const CONFLICT: Self = Self::new("conflict", Code::Conflict);
    pub(crate) const AMBIGUOUS_ID: Self = Self::new("ambiguous_id", Code::Conflict);
    pub(crate) const FILE_EXISTS: Self = Self::new("file_exists", Code::Conflict);
    pub(crate) const NEEDS_RESTORE: Self = Self::new("needs_restore", Code::NeedsRestore);
    pub(crate) const NOT_RESUMABLE: Self = Self::new("not_resumable", Code::NotResumable);

    const FILE_NOT_FOUND: Self = Self::new("file_not_found", Code::NotFound);
    const INVALID_INPUT: Self = Self::new("invalid_input", Code::Usage);
    const BUSY: Self = Self::new("busy", Code::Busy);
    const CORRUPT: Self = Self::new("corrupt", Code::Failure);
    const IO: Self = Self::new("io", Code::Failure);

    const fn new(name: &'static str, code: Code) -> Self {
        Self { name, code }
    }

    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match Cause::of(error) {
            Cause::Problem(problem) => problem.kind,
            Cause::Store(error) => of_store(error.kind()),
            Cause::Admin(AdminError::Conflict { .. }) => Self::CONFLICT,
            Cause::Admin(AdminError::InvalidLine { .. }) => {
                Self::new("invalid_line", Code::Failure)
            }
            Cause::Admin(AdminError::Text { .. }) => Self::IO,
            Cause::Recording(RecordingError::NotFound { .. }) => Self::FILE_NOT_FOUND,
            Cause::Recording(RecordingError::Busy { .. }) => Self::BUSY,
            Cause::Recording(_) => Self::new("recording", Code::Failure),
            Cause::Restore(error) => of_restore(error),
            Cause::Search(SearchError::InvalidQuery { .. }) => Self::INVALID_INPUT,
            Cause::Search(SearchError::Busy { .. }) => Self::BUSY,
            Cause::Search(SearchError::Damaged { .. }) => Self::CORRUPT,
            Cause::Search(SearchError::NotAnIndex { .. }) => {
                Self::new("not_an_index", Code::Failure)
            }
            Cause::Search(SearchError::File { .. }) => Self::IO,
            Cause::Invalid => Self::INVALID_INPUT,
            Cause::Io(error) => match error.kind() {
                io::ErrorKind::NotFound => Self::FILE_NOT_FOUND,
                io::ErrorKind::AlreadyExists => Self::FILE_EXISTS,
                _ => Self::IO,
            },
            Cause::Admin(_) | Cause::Search(_) | Cause::Warning(_) | Cause::Other => Self::FAILED,
        }
    }
}

fn of_store(kind: &ErrorKind) -> Kind {
    let (name, code) = match kind {
        ErrorKind::TaskNotFound => return Kind::TASK_NOT_FOUND,
        ErrorKind::FileExists { .. } => return Kind::FILE_EXISTS,
        ErrorKind::InvalidInput { .. } => return Kind::INVALID_INPUT,
        ErrorKind::Busy { .. } => return Kind::BUSY,
        ErrorKind::Corrupt => return Kind::CORRUPT,
        ErrorKind::Io => return Kind::IO,
        ErrorKind::SessionNotFound => ("session_not_found", Code::NotFound),
        ErrorKind::RecordingNotFound { .. } => ("recording_not_found", Code::NotFound),
        ErrorKind::DependencyNotFound { .. } => ("dependency_not_found", Code::NotFound),
        ErrorKind::StoreNotFound => ("store_not_found", Code::NotFound),
        ErrorKind::BackendMismatch { .. } => ("backend_mismatch", Code::Conflict),
        ErrorKind::KeyConflict { .. } => ("key_conflict", Code::Conflict),
        ErrorKind::SeqConflict { .. } => ("seq_conflict", Code::Conflict),
        ErrorKind::RecordingGap { .. } => ("recording_gap", Code::Conflict),
        ErrorKind::LeaseLost { .. } => ("lease_lost", Code::Conflict),
        ErrorKind::DependencyCycle { .. } => ("dependency_cycle", Code::Conflict),
        ErrorKind::Unavailable => ("unavailable", Code::Busy),
        ErrorKind::OutcomeUnknown => ("outcome_unknown", Code::Failure),
        ErrorKind::Full => ("full", Code::Failure),
        ErrorKind::ReadOnly => ("read_only", Code::Failure),
        ErrorKind::UnsafeFile { .. } => ("unsafe_file", Code::Failure),
        ErrorKind::SchemaAltered { .. } => ("schema_altered", Code::Failure),
        ErrorKind::SchemaTooNew { .. } => ("schema_too_new", Code::Failure),
        ErrorKind::RestoreUnfinished => ("restore_unfinished", Code::Failure),
        ErrorKind::NotAStore { .. } => ("not_a_store", Code::Failure),
        ErrorKind::UntrustedOwner { .. } => ("untrusted_owner", Code::Failure),
        ErrorKind::FileLost { .. } => ("file_lost", Code::Failure),
        ErrorKind::Unsupported { .. } => ("unsupported", Code::Failure),
        ErrorKind::NoConnection { .. } => ("no_connection", Code::Failure),
        ErrorKind::Denied => ("denied", Code::Failure),
        ErrorKind::Database => ("database", Code::Failure),
        _ => return Kind::FAILED,
    };
    Kind::new(name, code)
}

fn of_restore(error: &RestoreError) -> Kind {
    match error {
        RestoreError::NothingKept { .. } => Kind::new("nothing_kept", Code::NotFound),
        RestoreError::Differs { .. } | RestoreError::OtherCopy { .. } => {
            Kind::new("differs", Code::Conflict)
        }
        // The agent is running.
        RestoreError::Changed { .. } => Kind::BUSY,
        RestoreError::Io { .. } | RestoreError::ReadBack { .. } => Kind::IO,
        _ => Kind::new("not_restorable", Code::Failure),
    }
}

#[cfg(test)]
mod tests {
    use turnkeep_repo::{Repo, TaskId};

    use super::*;

    #[test]
    fn a_kind_is_found_below_any_context() {
        let repo = Repo::open_in_memory().unwrap();
        let missing = repo.get_task(&TaskId::new("t").unwrap()).unwrap_err();
        let error = anyhow::Error::from(AdminError::from(missing));
        assert_eq!(Kind::of(&error), Kind::TASK_NOT_FOUND);
        let error = error.context("a file").context("another");
        assert_eq!(Kind::of(&error), Kind::TASK_NOT_FOUND);
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(Kind::of(&error.context("x")), Kind::FILE_NOT_FOUND);
        assert_eq!(Kind::of(&anyhow::anyhow!("odd")), Kind::FAILED);
    }

    #[test]
    fn only_what_may_succeed_later_is_busy() {
        let timeout = std::time::Duration::ZERO;
        for kind in [ErrorKind::Busy { timeout }, ErrorKind::Unavailable] {
            assert_eq!(of_store(&kind).code, Code::Busy);
        }
        for kind in [ErrorKind::NoConnection { timeout }, ErrorKind::Full] {
            assert_eq!(of_store(&kind).code, Code::Failure);
        }
    }

    #[test]
    fn failures_have_the_code_that_they_share() {
        let (lost, busy) = (Code::NotFound, Code::Busy);
        assert_eq!(Code::of_all([]), None);
        assert_eq!(Code::of_all([lost]), Some(lost));
        assert_eq!(Code::of_all([lost, lost]), Some(lost));
        assert_eq!(Code::of_all([lost, busy, lost]), Some(Code::Failure));
    }
}
