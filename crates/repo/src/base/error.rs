use std::path::PathBuf;
use std::time::Duration;

use turnkeep_model::{BackendType, InvalidValue, MessageKey, TaskId, visible, visible_path};

use crate::admin::copy::CopyReport;
use crate::admin::jsonl::LineFault;
use crate::base::file_fault::FileFault;
use crate::base::operation::Call;

/// What a store call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What lies behind an error, kept opaque so that a new major version of a driver is none here.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed, sorted by what the caller can do about it.
///
/// After any error nothing of the call is stored, [`Io`](Error::Io) at a commit,
/// [`OutcomeUnknown`](Error::OutcomeUnknown), [`Abandoned`](Error::Abandoned) and what
/// [`copy`](crate::copy()) or an import had stored by then excepted. Every message names the operation and the
/// thing; none repeats its source (print the chain, for instance with anyhow's `{:#}`) and none
/// contains what was said in a conversation. Ids and paths in it are shown so that they can neither
/// begin a line nor command a terminal (`␊` for a line break); a source may repeat what the system said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No task has this id. Save the task first.
    #[error("{operation}: there is no task `{task_id}`", task_id = visible(task_id.as_str()))]
    TaskNotFound {
        /// The method that was called.
        operation: &'static str,
        /// The task that was asked for.
        task_id: TaskId,
    },

    /// The task has no current session: it never had one, or the last one was retired.
    #[error(
        "{operation}: task `{task_id}` is bound to no session",
        task_id = visible(task_id.as_str())
    )]
    SessionNotFound {
        /// The method that was called.
        operation: &'static str,
        /// The task that was asked for. It may not exist either.
        task_id: TaskId,
    },

    /// The task is bound to a session of another agent than expected.
    #[error(
        "{operation}: task `{task_id}` is bound to a session of {actual}, not of {expected}",
        task_id = visible(task_id.as_str()),
        actual = visible(actual.as_str()),
        expected = visible(expected.as_str())
    )]
    BackendMismatch {
        /// The method that was called.
        operation: &'static str,
        /// The task that was asked for.
        task_id: TaskId,
        /// The agent the caller expected.
        expected: BackendType,
        /// The agent the session belongs to.
        actual: BackendType,
    },

    /// The message key is taken by a turn with another role or other content.
    #[error(
        "{operation}: in task `{task_id}` the message key `{key}` belongs to turn {seq}, which says something else",
        task_id = visible(task_id.as_str()),
        key = visible(key.as_str())
    )]
    KeyConflict {
        /// The method that was called.
        operation: &'static str,
        /// The task.
        task_id: TaskId,
        /// The key that was given.
        key: MessageKey,
        /// The turn that has it.
        seq: i64,
    },

    /// The history has not ended where the caller expected: someone else appended, or less was
    /// stored than the caller thinks.
    #[error(
        "{operation}: the last turn of task `{task_id}` is {actual}, not {expected}",
        task_id = visible(task_id.as_str())
    )]
    SeqConflict {
        /// The method that was called.
        operation: &'static str,
        /// The task.
        task_id: TaskId,
        /// The last seq the caller expected; 0 for an empty history.
        expected: i64,
        /// The last seq there is; 0 for an empty history.
        actual: i64,
    },

    /// The task was given out or taken back since it was claimed. Whoever has it now goes on with it:
    /// stop working on it.
    #[error(
        "{operation}: the lease {fence} of task `{task_id}` is over, its fence is {actual} now",
        task_id = visible(task_id.as_str())
    )]
    LeaseLost {
        /// The method that was called.
        operation: &'static str,
        /// The task.
        task_id: TaskId,
        /// The fence of the claim.
        fence: i64,
        /// The fence of the task. The same where a lease was to be renewed that a status has ended.
        actual: i64,
    },

    /// A task was to depend on one that does not exist.
    #[error(
        "{operation}: task `{task_id}` can't depend on `{depends_on}`, which does not exist",
        task_id = visible(task_id.as_str()),
        depends_on = visible(depends_on.as_str())
    )]
    DependencyNotFound {
        /// The method that was called.
        operation: &'static str,
        /// The task that was to be saved.
        task_id: TaskId,
        /// The dependency that is missing.
        depends_on: TaskId,
    },

    /// A dependency would have closed a circle, so that none of its tasks could ever start.
    #[error(
        "{operation}: task `{task_id}` can't depend on `{depends_on}`, which waits for it",
        task_id = visible(task_id.as_str()),
        depends_on = visible(depends_on.as_str())
    )]
    DependencyCycle {
        /// The method that was called.
        operation: &'static str,
        /// The task that was to be saved.
        task_id: TaskId,
        /// The dependency that leads back to the task, or is the task itself.
        depends_on: TaskId,
    },

    /// A task can't be copied without losing what the destination has of it; or, after all was
    /// copied, both stores don't hold the same of it. See [`copy`](crate::copy()).
    #[error("{operation}: task `{task_id}` {reason}", task_id = visible(task_id.as_str()))]
    CopyConflict {
        /// The function that was called.
        operation: &'static str,
        /// The task.
        task_id: TaskId,
        /// What is in the way, as a predicate.
        reason: String,
        /// What both stores hold, if that is where they were found to differ.
        report: Option<Box<CopyReport>>,
    },

    /// A line of an export is damaged, or not what should be there. What was before its task is
    /// stored; of the task nothing is. See [`Repo::import_jsonl`](crate::Repo::import_jsonl).
    #[error("{operation}: line {line} {fault}")]
    InvalidLine {
        /// The method that was called.
        operation: &'static str,
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        fault: LineFault,
    },

    /// A value no store accepts. Nothing was asked of the database.
    #[error("{operation}: invalid {field}: {reason}")]
    InvalidInput {
        /// The method that was called; `new` when a value could not even be made.
        operation: &'static str,
        /// Which value.
        field: &'static str,
        /// Why it was refused.
        reason: String,
    },

    /// Others kept the store busy for the whole timeout. Try again.
    #[error("{operation}: {subject} was kept busy by others for {timeout:?}")]
    Busy {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// The timeout of the store.
        timeout: Duration,
        /// What the database said, if the call got that far.
        source: Option<Source>,
    },

    /// The disk is full, or the quota of the user or the size that a file may have is used up. Make room and
    /// try again.
    ///
    /// A process that reaches its limit for the size of files (`RLIMIT_FSIZE`) is killed by SIGXFSZ, with
    /// nothing lost that was acknowledged, unless it ignores that signal.
    #[error("{operation}: no space left to store {subject}")]
    Full {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What the database said.
        source: Source,
    },

    /// The file or its folder can't be written to. What is stored can be read, but for what
    /// [`Repo::open`](crate::Repo::open) names.
    #[error("{operation}: {subject} can't be written, the file or its folder is read-only")]
    ReadOnly {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What the database said.
        source: Source,
    },

    /// The operating system failed to read or write. A disk that can't read a file now may have failed, and
    /// the file may be whole all the same.
    ///
    /// When a commit fails this way its outcome is not known: the data may have reached the disk
    /// all the same, and be there after a restart. A message key or an expected seq makes a repeat
    /// safe.
    #[error("{operation}: reading or writing {subject} failed")]
    Io {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What the database or the system said.
        source: Source,
    },

    /// What is stored is damaged, or was written by another program past the constraints.
    #[error("{operation}: {subject} is damaged")]
    Corrupt {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words: down to the turn where that is known.
        subject: String,
        /// What is wrong with it.
        source: Source,
    },

    /// Opening the store could destroy it, or other files, because of the file itself or one that SQLite
    /// keeps beside it (`-wal`, `-shm`, `-journal`). Nothing was changed.
    #[error("{operation}: {} {fault}", visible_path(path))]
    UnsafeFile {
        /// The method that was called.
        operation: &'static str,
        /// The file that is at fault.
        path: PathBuf,
        /// What is wrong with it, and what to do about it.
        fault: FileFault,
    },

    /// Another program has altered the schema of the store: a trigger, a rule or a policy that is not
    /// the store's, a guard that is gone, a view in place of a table. A write would not be stored, or not
    /// as it was meant. [`check`](crate::Repo::check) names all that differs. Undo that,
    /// or export what is there into a new store.
    #[error("{operation}: {subject} is refused, another program has altered the schema: {what}")]
    SchemaAltered {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What differs, in words, with its name where that is known.
        what: String,
    },

    /// A restore was exchanging the files of the store when its process died or the power was lost, or is
    /// doing so now. The store can't be opened before it is restored again
    /// ([`RepoBuilder::restore`](crate::RepoBuilder::restore)), from this or another backup. Its old files
    /// are all there; the folder `…-replaced` beside it has those that had been moved.
    #[error(
        "{operation}: {} was being restored, which was not finished",
        visible_path(path)
    )]
    RestoreUnfinished {
        /// The method that was called.
        operation: &'static str,
        /// The file of the store.
        path: PathBuf,
    },

    /// There is a file already where a new one was to be made. It was left as it is.
    #[error("{operation}: {} exists already", visible_path(path))]
    FileExists {
        /// The method that was called.
        operation: &'static str,
        /// The file that is in the way.
        path: PathBuf,
    },

    /// There is no file at the path or no store at the address, and none was to be made.
    #[error("{operation}: there is no store at {}", visible_path(path))]
    StoreNotFound {
        /// The method that was called.
        operation: &'static str,
        /// The path, or the address without user and password, that was to be opened.
        path: PathBuf,
    },

    /// The path holds no SQLite database. It was left as it is.
    #[error("{operation}: {} {reason}", visible_path(path))]
    NotADatabase {
        /// The method that was called.
        operation: &'static str,
        /// The path, or the address without user and password, that was to be opened.
        path: PathBuf,
        /// What it is instead, as a predicate.
        reason: &'static str,
    },

    /// The file is a database of another program, or the schema holds other things. It was left as
    /// it is.
    #[error("{operation}: {} is another program's database", visible_path(path))]
    ForeignDatabase {
        /// The method that was called.
        operation: &'static str,
        /// The path, or the address without user and password, that was to be opened.
        path: PathBuf,
    },

    /// The schema on a server, or a table or function in it, belongs to a role that might have planted it
    /// to read or change the data of the store. It was left as it is. Name the role to
    /// [`RepoBuilder::owner`](crate::RepoBuilder::owner) if it administers the store, or another
    /// schema in the address.
    #[error(
        "{operation}: the {object} at {} is owned by the role `{owner}`, which is not known to \
         administer the store",
        visible_path(path),
        object = visible(object),
        owner = visible(owner)
    )]
    UntrustedOwner {
        /// The method that was called.
        operation: &'static str,
        /// What it is: `schema "app"`, `table "tasks"`, `function "turnkeep_append"`.
        object: String,
        /// The role.
        owner: String,
        /// The address without user and password, that was to be opened.
        path: PathBuf,
    },

    /// The store was written by a newer version of this library, or has been upgraded by one while it
    /// was open here. It was left as it is; update the program. A store that was open can still be
    /// read, as far as the newer schema has the same columns.
    #[error(
        "{operation}: {} has schema {}, which is newer than this program",
        visible_path(path),
        visible(version)
    )]
    SchemaTooNew {
        /// The method that was called.
        operation: &'static str,
        /// The path, or the address without user and password, that was to be opened.
        path: PathBuf,
        /// The newest migration in it that this program does not know.
        version: String,
    },

    /// The path of the store no longer leads to the file that was opened, or that of its log (`-wal`,
    /// `-shm`) to the log: it was deleted, moved or replaced. Bring it back, or drop every `Repo` that has
    /// it open, in all processes, and open the store again.
    ///
    /// What had been acknowledged is in the file that was opened and in the log beside it, as long as
    /// these exist: move both together, when no program has them open. What is in a log that was deleted
    /// goes into the file when the last `Repo` that has it open is dropped. Where another process has
    /// opened the store meanwhile it does not, for that has a log of its own: then this process can't
    /// open the store again, and is to be ended.
    #[error(
        "{operation}: {} is not the file that was opened, {reason}",
        visible_path(path)
    )]
    FileLost {
        /// The method that was called.
        operation: &'static str,
        /// The path that was opened, of the file or of its log.
        path: PathBuf,
        /// What became of it, in words.
        reason: String,
    },

    /// This process was forked while a store was open, and the connections belong to the parent.
    /// Nothing was asked of the database. Fork before the first store is opened, or have the child
    /// `exec`.
    #[error(
        "{operation}: {subject} can't be used in a process that was forked while a store was open"
    )]
    Forked {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
    },

    /// The database library or the file system lacks something a store can't do without.
    #[error("{operation}: {subject} can't be used: {reason}", reason = visible(reason))]
    Unsupported {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What is missing.
        reason: String,
    },

    /// No connection could be made within the timeout: the file is gone, its permissions
    /// changed, or the process has too many files open; the server refuses the user or has no such
    /// database.
    #[error("{operation}: no connection for {subject} could be made in {timeout:?}")]
    Pool {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// The timeout of the store.
        timeout: Duration,
        /// What the pool said.
        source: Source,
    },

    /// Another caller, which wrote for this one too, panicked in the middle of it.
    ///
    /// Whether it was stored is not known. A message key or an expected seq makes a repeat safe.
    #[error("{operation}: the thread that was writing {subject} for several callers panicked")]
    Abandoned {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
    },

    /// The database server can't be reached, is starting or shutting down, or is a standby that
    /// takes no writes. Nothing was stored. Try again: where a cluster fails over, the next leader
    /// is found.
    #[error("{operation}: the server with {subject} is unavailable")]
    Unavailable {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What the server or the network said.
        source: Source,
    },

    /// The role of the address lacks a privilege. Nothing was stored. docs/postgresql.md lists the
    /// privileges that a role needs.
    #[error("{operation}: the server does not allow this role to use {subject} like this")]
    Denied {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What the server said.
        source: Source,
    },

    /// The connection was lost during the commit.
    ///
    /// Whether it was stored is not known. A message key or an expected seq makes a repeat safe.
    #[error("{operation}: whether {subject} was stored is not known, the server was lost")]
    OutcomeUnknown {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What the server or the network said.
        source: Source,
    },

    /// Any other answer of the database: a constraint that only a bug or another program's
    /// change of the schema can break, or an out-of-memory.
    #[error("{operation}: the database refused {subject}")]
    Database {
        /// The method that was called.
        operation: &'static str,
        /// The thing, in words.
        subject: String,
        /// What the database said.
        source: Source,
    },
}

impl Error {
    /// Returns whether the same call may succeed later without anything being mended.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable { .. })
    }

    pub(crate) fn abandoned(call: &Call<'_>) -> Self {
        Self::Abandoned {
            operation: call.operation,
            subject: call.subject(),
        }
    }

    pub(crate) fn invalid(operation: &'static str, value: InvalidValue) -> Self {
        Self::InvalidInput {
            operation,
            field: value.field,
            reason: value.reason,
        }
    }
}

/// For values made outside of any call: `TaskId::new("…")?` in a function that returns
/// [`Result`].
impl From<InvalidValue> for Error {
    fn from(value: InvalidValue) -> Self {
        Self::invalid("new", value)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FORGED: &str = "x\nhint: run it\x1b[2J\u{202e}\u{9b}\u{7f}";

    #[test]
    fn no_value_in_an_error_begins_a_line_or_commands_a_terminal() {
        let operation = "test";
        let task_id = TaskId::new(FORGED).unwrap();
        let path = PathBuf::from(FORGED);
        let errors = [
            Error::TaskNotFound {
                operation,
                task_id: task_id.clone(),
            },
            Error::BackendMismatch {
                operation,
                task_id: task_id.clone(),
                expected: FORGED.parse().unwrap(),
                actual: FORGED.parse().unwrap(),
            },
            Error::KeyConflict {
                operation,
                task_id: task_id.clone(),
                key: MessageKey::new(FORGED).unwrap(),
                seq: 1,
            },
            Error::DependencyCycle {
                operation,
                task_id: task_id.clone(),
                depends_on: task_id.clone(),
            },
            Error::InvalidLine {
                operation,
                line: 1,
                fault: LineFault::UnknownTask {
                    depends_on: task_id.clone(),
                },
            },
            Error::abandoned(&Call::on_task(operation, &task_id)),
            Error::abandoned(&Call::on_file(operation, Path::new(FORGED))),
            Error::RestoreUnfinished {
                operation,
                path: path.clone(),
            },
            Error::FileExists { operation, path },
        ];
        for error in errors {
            let shown = error.to_string();
            assert!(!shown.contains(char::is_control), "{error:?}");
            assert!(
                shown.contains(r"x␊hint: run it␛[2J\u{202e}\u{9b}␡"),
                "{shown}"
            );
        }
    }
}
