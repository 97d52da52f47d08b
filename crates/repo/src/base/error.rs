use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use turnkeep_model::{
    BackendType, Fence, InvalidValue, MessageKey, RecordingNumber, Seq, TaskId, visible,
    visible_path,
};

use crate::base::file_fault::FileFault;
use crate::base::operation::Operation;

/// The result of a store call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of an error. It is opaque, so that a new major version of a driver is no new version of
/// this crate.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed: the method, the task, the [kind](ErrorKind) and the cause.
///
/// After an error nothing of the call is stored, unless [`may_be_stored`](Self::may_be_stored) is
/// true.
///
/// The message has the method, the thing and the reason. It does not repeat the
/// [source](std::error::Error::source): print the chain, for instance with anyhow's `{:#}`. It never
/// contains the text of a conversation. Ids and paths in it are escaped, so that they cannot start a
/// line or send a control sequence to a terminal (`␊` for a line break). A source may repeat text of
/// the operating system or the database.
///
/// ```
/// use turnkeep_repo::{ErrorKind, Repo, TaskId};
///
/// let repo = Repo::open_in_memory()?;
/// let error = repo.get_task(&TaskId::new("none")?).unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::TaskNotFound));
/// assert_eq!(error.to_string(), "get_task: there is no task `none`");
/// assert!(!error.is_retryable());
/// # Ok::<(), turnkeep_repo::Error>(())
/// ```
///
/// A message with a key is stored once, so a caller may repeat it even when the outcome is unknown:
///
/// ```
/// use turnkeep_repo::{MessageKey, NewMessage, Repo, Result, Role, Seq, TaskId};
///
/// fn save(repo: &Repo, task: &TaskId, key: MessageKey, text: &str) -> Result<Seq> {
///     let message = NewMessage::new(Role::User, text).key(key);
///     let mut attempts = 3;
///     loop {
///         match repo.save_messages(task, std::slice::from_ref(&message)) {
///             Err(error) if attempts > 1 && (error.is_retryable() || error.may_be_stored()) => {
///                 attempts -= 1;
///             }
///             result => return result.map(|seqs| seqs[0]),
///         }
///     }
/// }
/// # let repo = Repo::open_in_memory()?;
/// # let task = TaskId::new("t")?;
/// # repo.save_task(&turnkeep_repo::NewTask::new(task.clone(), "T"))?;
/// # assert_eq!(save(&repo, &task, MessageKey::new("k")?, "Is it done?")?, 1);
/// # assert_eq!(save(&repo, &task, MessageKey::new("k")?, "Is it done?")?, 1);
/// # Ok::<(), turnkeep_repo::Error>(())
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    task_id: Option<TaskId>,
    /// The task, file or other thing, in words that are safe to print.
    subject: String,
    /// Shared by the callers of a transaction that failed.
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of errors, by what the caller can do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No task has this id. Save the task first.
    TaskNotFound,

    /// The task has no current session: none was saved, or the last one was retired.
    SessionNotFound,

    /// The task is bound to a session of another agent than the expected one.
    BackendMismatch {
        /// The agent that the caller expected.
        expected: BackendType,
        /// The agent of the session.
        actual: BackendType,
    },

    /// Another turn, with another role, content or metadata, already has this message key.
    KeyConflict {
        /// The key of the call.
        key: MessageKey,
        /// The turn that has the key.
        seq: Seq,
    },

    /// The history does not end at the expected seq: another writer appended, or fewer turns were
    /// stored than the caller assumes.
    SeqConflict {
        /// The last seq that the caller expected; `None` for an empty history.
        expected: Option<Seq>,
        /// The last seq of the history; `None` for an empty history.
        actual: Option<Seq>,
    },

    /// The bytes begin beyond the end of the kept file. Save the ones from `length` on first.
    RecordingGap {
        /// The length of the kept file, 0 if there is none of that name.
        length: u64,
    },

    /// The task has no kept file of this number, or has it no longer.
    RecordingNotFound {
        /// The number.
        number: RecordingNumber,
    },

    /// The claim is over: the task was claimed again or its status changed. Stop working on it.
    LeaseLost {
        /// The fence of the claim.
        fence: Fence,
        /// The fence of the task. It equals `fence` when the call renews a lease that a status change
        /// has ended.
        actual: Fence,
    },

    /// The task depends on a task that does not exist.
    DependencyNotFound {
        /// The missing task.
        depends_on: TaskId,
    },

    /// The dependencies would form a circle, and its tasks could never start.
    DependencyCycle {
        /// The tasks of the circle. Each depends on the next, and the last on the first.
        members: Vec<TaskId>,
    },

    /// No store accepts this value. The database was not asked.
    InvalidInput {
        /// The name of the value.
        field: &'static str,
        /// Why the value was refused.
        reason: String,
    },

    /// Other writers kept the store busy for the whole timeout. Try again.
    Busy {
        /// The timeout of the store.
        timeout: Duration,
    },

    /// The database server can't be reached, is starting or shutting down, or is a standby. Nothing
    /// was stored. Try again: after a failover the server's new leader is found.
    Unavailable,

    /// The connection was lost during the commit, or a thread that wrote for several callers panicked.
    /// The write may be stored. A message key or an expected seq makes it safe to repeat.
    OutcomeUnknown,

    /// The disk is full, or a quota or the limit for the size of a file is reached. Make room and try
    /// again.
    ///
    /// At its limit for the size of files (`RLIMIT_FSIZE`) a process is killed by SIGXFSZ, unless it
    /// ignores that signal. Acknowledged writes stay.
    Full,

    /// The store was opened [`read_only`](crate::RepoBuilder::read_only), or its file or folder is read-only.
    /// Reads work, with the exceptions that [`Repo::open`](crate::Repo::open) names.
    ReadOnly,

    /// The operating system failed to read or write. The file may be whole even if the disk failed.
    ///
    /// If a commit fails this way, the write may have reached the disk and be there after a restart.
    /// A message key or an expected seq makes it safe to repeat.
    Io,

    /// The stored data is damaged, or another program wrote it past the constraints.
    Corrupt,

    /// To open the file could destroy the store or other files, because of the file itself or one of
    /// SQLite's files beside it (`-wal`, `-shm`, `-journal`). Nothing was changed.
    UnsafeFile {
        /// The file at fault.
        path: PathBuf,
        /// The fault, with advice.
        fault: FileFault,
    },

    /// Another program has altered the schema: a foreign trigger, rule or policy, a missing guard, a
    /// view in place of a table. Writes could be lost or changed. `turnkeep_admin::check` lists
    /// every difference. Undo them, or export the tasks into a new store.
    SchemaAltered {
        /// The difference in words, with the name of the part where it has one.
        what: String,
    },

    /// A restore of the store has begun and not ended: its process died, the power was lost, or it is
    /// still running. Restore again, from the same or another backup
    /// ([`RepoBuilder::restore`](crate::RepoBuilder::restore)). The old files are kept, some of them in
    /// the folder `…-replaced` beside the store.
    RestoreUnfinished,

    /// A file is already at the path of the new one. It was left as it is.
    FileExists {
        /// The file that is in the way.
        path: PathBuf,
    },

    /// No store is at the path or address, and the call creates none.
    StoreNotFound,

    /// The path or address holds something other than a store: no SQLite database, another program's
    /// database, or foreign objects in the schema of a server. It was left as it is.
    NotAStore {
        /// The content of the file, as a predicate.
        reason: &'static str,
    },

    /// The schema on a server, or a table or function in it, belongs to a role that could have planted
    /// it to read or change the data. It was left as it is. Name the role to
    /// [`RepoBuilder::owner`](crate::RepoBuilder::owner) if it administers the store, or name another
    /// schema in the address.
    UntrustedOwner {
        /// The object: `schema "app"`, `table "tasks"`, `function "turnkeep_append"`.
        object: String,
        /// The role.
        owner: String,
    },

    /// A newer version of this library has written or upgraded the store. It was left as it is. Update
    /// the program. A store that was already open can still be read, as far as the newer schema has
    /// the same columns.
    SchemaTooNew {
        /// The path, or the address without user and password.
        path: PathBuf,
        /// The newest migration that this program does not know.
        version: String,
    },

    /// The file of the store, or its log (`-wal`, `-shm`), was deleted, moved or replaced since it was
    /// opened. Bring it back, or drop every `Repo` on it in all processes and open the store again.
    ///
    /// Acknowledged writes are in the opened file and its log, as long as these exist: move both
    /// together, after all programs have closed them. The content of a deleted log is written to the
    /// file when the last `Repo` on it is dropped, unless another process has opened the store
    /// meanwhile with a log of its own. In that case this process can't open the store again and has
    /// to end.
    FileLost {
        /// The opened path, of the file or of its log.
        path: PathBuf,
        /// The event that lost it.
        reason: String,
    },

    /// The process was forked while a store was open, and the connections belong to the parent. The
    /// database was not asked. Fork before the first store is opened, or let the child `exec`.
    Forked,

    /// The database library, the file system or this build lacks something that the call needs.
    Unsupported {
        /// The missing feature.
        reason: String,
    },

    /// No connection could be made within the timeout: the file is gone, its permissions changed, the
    /// process has too many open files, or the server refuses the user or lacks the database.
    NoConnection {
        /// The timeout of the store.
        timeout: Duration,
    },

    /// The role of the address lacks a privilege. Nothing was stored. docs/postgresql.md lists the
    /// privileges that a role needs.
    Denied,

    /// Any other failure of the database: no memory, or a constraint that only a bug or an altered
    /// schema can break.
    Database,
}

impl Error {
    /// Returns the kind of the error, with the values that a caller may need.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns the name of the public method or function that failed; `new` when a value could not be
    /// constructed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Returns the task of the call, if the call was about one task.
    #[must_use]
    pub fn task_id(&self) -> Option<&TaskId> {
        self.0.task_id.as_ref()
    }

    /// Returns whether the same call may succeed later without a repair. Such a call has stored no data.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }

    /// Returns whether the write may be stored although the call failed, because the outcome of the commit is
    /// unknown. A message key or an expected seq makes it safe to repeat. Also true for an I/O error before the
    /// commit or of a read, which the error does not tell apart.
    #[must_use]
    pub fn may_be_stored(&self) -> bool {
        matches!(self.kind(), ErrorKind::OutcomeUnknown | ErrorKind::Io)
    }

    pub(crate) fn new(kind: ErrorKind, call: &Operation<'_>, source: Option<Source>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: call.name,
            task_id: call.task_id().cloned(),
            subject: call.subject(),
            source: source.map(Arc::from),
        }))
    }

    /// Makes the error of another call that failed with this one.
    pub(crate) fn shared_by(&self, call: &Operation<'_>) -> Self {
        let mut error = self.kind().clone().on(call);
        error.0.source.clone_from(&self.0.source);
        error
    }

    /// Adds the cause.
    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Narrows the subject down to a part of it: `turn 3 of task …`.
    pub(crate) fn in_part(mut self, part: impl fmt::Display) -> Self {
        self.0.subject = format!("{part} of {}", self.0.subject);
        self
    }

    /// Replaces the kind and the cause.
    pub(crate) fn with_kind(mut self, kind: ErrorKind, source: impl Into<Source>) -> Self {
        self.0.kind = kind;
        self.with_source(source)
    }

    /// The error of a caller if the thread that ran its write panicked.
    pub(crate) fn abandoned(call: &Operation<'_>) -> Self {
        ErrorKind::OutcomeUnknown
            .on(call)
            .with_source("the thread that wrote for several callers panicked")
    }

    /// The error of a value that the method refuses.
    pub(crate) fn invalid(
        operation: &'static str,
        field: &'static str,
        reason: impl Into<String>,
    ) -> Self {
        let reason = reason.into();
        ErrorKind::InvalidInput { field, reason }.on(&Operation::on_store(operation))
    }
}

impl ErrorKind {
    /// Makes the error of a call.
    pub(crate) fn on(self, call: &Operation<'_>) -> Error {
        Error::new(self, call, None)
    }

    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.0.subject;
        let text = match self.kind() {
            ErrorKind::TaskNotFound => format!("there is no {subject}"),
            ErrorKind::SessionNotFound => format!("{subject} is bound to no session"),
            ErrorKind::BackendMismatch { expected, actual } => {
                let (actual, expected) = (visible(actual.as_str()), visible(expected.as_str()));
                format!("{subject} is bound to a session of {actual}, not of {expected}")
            }
            ErrorKind::KeyConflict { key, seq } => {
                let key = visible(key.as_str());
                format!(
                    "in {subject} the message key `{key}` belongs to turn {seq}, \
                     which says something else"
                )
            }
            ErrorKind::SeqConflict { expected, actual } => {
                let [actual, expected] = [actual, expected].map(|seq| seq.map_or(0, Seq::get));
                format!("the last turn of {subject} is {actual}, not {expected}")
            }
            ErrorKind::RecordingGap { length } => {
                format!(
                    "of the file for {subject} {length} bytes are kept, and the new ones do not follow"
                )
            }
            ErrorKind::RecordingNotFound { number } => {
                format!("{subject} has no recording {number}")
            }
            ErrorKind::LeaseLost { fence, actual } => {
                format!("the lease {fence} of {subject} is over, its fence is {actual} now")
            }
            ErrorKind::DependencyNotFound { depends_on } => {
                let depends_on = visible(depends_on.as_str());
                format!("{subject} can't depend on `{depends_on}`, which does not exist")
            }
            ErrorKind::DependencyCycle { members } => {
                format!("dependencies form a circle: {}", circle(members))
            }
            ErrorKind::InvalidInput { field, reason } => format!("invalid {field}: {reason}"),
            ErrorKind::Busy { timeout } => {
                format!("{subject} was kept busy by others for {timeout:?}")
            }
            ErrorKind::Unavailable => format!("the server with {subject} is unavailable"),
            ErrorKind::OutcomeUnknown => format!("whether {subject} was stored is not known"),
            ErrorKind::Full => format!("no space left to store {subject}"),
            ErrorKind::ReadOnly => {
                format!(
                    "{subject} can't be written, the store, its file or its folder is read-only"
                )
            }
            ErrorKind::Io => format!("reading or writing {subject} failed"),
            ErrorKind::Corrupt => format!("{subject} is damaged"),
            ErrorKind::UnsafeFile { path, fault } => format!("{} {fault}", visible_path(path)),
            ErrorKind::SchemaAltered { what } => {
                format!("{subject} is refused, another program has altered the schema: {what}")
            }
            ErrorKind::RestoreUnfinished => {
                format!("{subject} was being restored, which was not finished")
            }
            ErrorKind::FileExists { path } => format!("{} exists already", visible_path(path)),
            ErrorKind::StoreNotFound => format!("there is no store at {subject}"),
            ErrorKind::NotAStore { reason } => format!("{subject} {reason}"),
            ErrorKind::UntrustedOwner { object, owner } => {
                let (object, owner) = (visible(object), visible(owner));
                format!(
                    "the {object} at {subject} is owned by the role `{owner}`, which is not known \
                     to administer the store"
                )
            }
            ErrorKind::SchemaTooNew { path, version } => {
                let (path, version) = (visible_path(path), visible(version));
                format!("{path} has schema {version}, which is newer than this program")
            }
            ErrorKind::FileLost { path, reason } => {
                let path = visible_path(path);
                format!("{path} is not the file that was opened, {reason}")
            }
            ErrorKind::Forked => {
                format!(
                    "{subject} can't be used in a process that was forked while a store was open"
                )
            }
            ErrorKind::Unsupported { reason } => {
                format!("{subject} can't be used: {}", visible(reason))
            }
            ErrorKind::NoConnection { timeout } => {
                format!("no connection for {subject} could be made in {timeout:?}")
            }
            ErrorKind::Denied => {
                format!("the server does not allow this role to use {subject} like this")
            }
            ErrorKind::Database => format!("the database refused {subject}"),
        };
        write!(f, "{}: {text}", self.operation())
    }
}

/// Returns at most ten tasks of a circle, and the first one again.
fn circle(members: &[TaskId]) -> String {
    let mut shown: Vec<String> = members
        .iter()
        .map(|it| visible(it.as_str()).to_string())
        .collect();
    let first = shown.first().cloned();
    if shown.len() > 10 {
        let more = shown.len() - 9;
        shown.truncate(9);
        shown.push(format!("({more} more)"));
    }
    shown.extend(first);
    shown.join(" -> ")
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl From<InvalidValue> for ErrorKind {
    fn from(value: InvalidValue) -> Self {
        Self::InvalidInput {
            field: value.field,
            reason: value.reason,
        }
    }
}

/// For values made outside of any call: `TaskId::new("…")?` in a function that returns
/// [`Result`].
impl From<InvalidValue> for Error {
    fn from(value: InvalidValue) -> Self {
        Self::invalid("new", value.field, value.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FORGED: &str = "x\nhint: run it\x1b[2J\u{202e}\u{9b}\u{7f}";

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn the_message_of_a_circle_is_short() {
        let ids = |count| {
            (1..=count)
                .map(|it| TaskId::new(it.to_string()).unwrap())
                .collect()
        };
        let shown = |count| {
            let members = ids(count);
            let error = ErrorKind::DependencyCycle { members }.on(&Operation::on_store("test"));
            error.to_string()
        };
        let begin = "test: dependencies form a circle: 1 -> ";
        assert_eq!(shown(1), format!("{begin}1"));
        assert_eq!(shown(3), format!("{begin}2 -> 3 -> 1"));
        let nine = format!("{begin}2 -> 3 -> 4 -> 5 -> 6 -> 7 -> 8 -> 9");
        assert_eq!(shown(9), format!("{nine} -> 1"));
        assert_eq!(shown(10), format!("{nine} -> 10 -> 1"));
        assert_eq!(shown(11), format!("{nine} -> (2 more) -> 1"));
        assert_eq!(shown(1_000), format!("{nine} -> (991 more) -> 1"));
    }

    #[test]
    fn no_value_in_an_error_begins_a_line_or_commands_a_terminal() {
        let task_id = TaskId::new(FORGED).unwrap();
        let on_task = Operation::on_task("test", &task_id);
        let on_file = Operation::on_file("test", Path::new(FORGED));
        let errors = [
            ErrorKind::TaskNotFound.on(&on_task),
            ErrorKind::BackendMismatch {
                expected: FORGED.parse().unwrap(),
                actual: FORGED.parse().unwrap(),
            }
            .on(&on_task),
            ErrorKind::KeyConflict {
                key: MessageKey::new(FORGED).unwrap(),
                seq: Seq::MIN,
            }
            .on(&on_task),
            ErrorKind::DependencyCycle {
                members: vec![task_id.clone()],
            }
            .on(&on_task),
            Error::abandoned(&on_task),
            Error::abandoned(&on_file),
            ErrorKind::RestoreUnfinished.on(&on_file),
            ErrorKind::FileExists {
                path: FORGED.into(),
            }
            .on(&on_file),
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
