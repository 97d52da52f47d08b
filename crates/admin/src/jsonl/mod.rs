//! A store as text, one JSON object a line, and back. The format is described in `docs/jsonl.md`.

mod export;
mod import;
mod line;
mod lines;

use std::io::{BufRead, Seek, Write};

use turnkeep_repo::Repo;

use crate::error::Result;

/// The progress of an export or an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JsonlProgress {
    /// Tasks that were written: to the text by an export, to the store by an import.
    pub tasks: u64,
    /// Turns that were written with them.
    pub turns: u64,
    /// Tasks that an import found in the store already, the same in everything. 0 for an export.
    pub left_alone: u64,
    /// Bytes of text that were written, or read.
    pub bytes: u64,
}

/// Writes all of the store as lines of JSON: tasks with their leases and fences, dependencies,
/// sessions with all their revisions, and histories, with every id, seq, key and microsecond.
/// Returns how much that was.
///
/// `docs/jsonl.md` documents the lines and their fields. Equal stores give equal bytes on every engine. Each task
/// comes after its dependencies; otherwise tasks are in order of their ids.
///
/// The export is one read transaction, so it shows one moment and blocks no writer. The log of a file can't shrink
/// before it ends. At most about 4 MiB are in memory, or the longest text with its line, and the ids of tasks with
/// dependencies. `out` is buffered here and flushed at the end. `progress` is called after each task and must not
/// use the store.
///
/// # Errors
/// After an error `out` holds an incomplete text without its last line, which [`import_jsonl`](import_jsonl())
/// refuses.
/// - [`Error::Text`](crate::Error::Text): `out` failed; its error is the source.
/// - [`ErrorKind::Corrupt`](turnkeep_repo::ErrorKind::Corrupt): a row can't be read, a turn or a revision is missing,
///   or a session differs from its open revision.
/// - [`ErrorKind::Unavailable`](turnkeep_repo::ErrorKind::Unavailable): the server was lost in the middle.
/// - [`Error::Store`](crate::Error::Store): a call to the store failed.
///
/// ```
/// use turnkeep_admin::export_jsonl;
/// use turnkeep_repo::{NewTask, Repo, Role, TaskId};
///
/// let repo = Repo::open_in_memory()?;
/// let task = TaskId::new("t1")?;
/// repo.save_task(&NewTask::new(task.clone(), "T1"))?;
/// repo.save_message(&task, Role::User, "Is it done?")?;
///
/// let mut text = Vec::new();
/// let done = export_jsonl(&repo, &mut text, |_| ())?;
/// assert_eq!((done.tasks, done.turns), (1, 1));
/// assert!(text.starts_with(b"{\"format\":\"turnkeep\",\"version\":1}\n{\"task\":{\"id\":\"t1\","));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export_jsonl(
    repo: &Repo,
    out: impl Write,
    progress: impl FnMut(JsonlProgress),
) -> Result<JsonlProgress> {
    export::export(repo, out, progress)
}

/// Reads an export into this store, and returns how much was new.
///
/// Each task is stored in one transaction with its dependencies, sessions and turns, or not at all. A task that the store already has must be equal in everything and is left alone, so an
/// interrupted import can be repeated. Other tasks of the store are left alone.
///
/// `input` is read more than once, so it must be a file or bytes in memory. At most about 4 MiB are in memory, or the
/// longest line with its text. Other writers wait for the transaction of a task, on a server only the writers of the
/// same task. `progress` is called after each task and must not use the store.
///
/// # Errors
/// The tasks before the refused task stay stored. The refused task is not stored.
/// - [`Error::InvalidLine`](crate::Error::InvalidLine): a line is damaged, is not what should be
///   there, is of another version, or waits for a task that is neither in the store nor before it.
/// - [`Error::Conflict`](crate::Error::Conflict): the store has a task of that id which
///   is not the same.
/// - [`Error::Text`](crate::Error::Text): `input` failed; its error is the source.
/// - [`Error::Store`](crate::Error::Store): a call to the store failed.
///
/// ```
/// use std::io::Cursor;
/// use turnkeep_admin::{export_jsonl, import_jsonl};
/// use turnkeep_repo::{NewTask, Repo, TaskId};
///
/// let repo = Repo::open_in_memory()?;
/// repo.save_task(&NewTask::new(TaskId::new("t1")?, "T1"))?;
/// let mut text = Vec::new();
/// export_jsonl(&repo, &mut text, |_| ())?;
///
/// let other = Repo::open_in_memory()?;
/// assert_eq!(import_jsonl(&other, Cursor::new(&text), |_| ())?.tasks, 1);
/// assert_eq!(other.list_tasks()?, repo.list_tasks()?);
/// let again = import_jsonl(&other, Cursor::new(&text), |_| ())?;
/// assert_eq!((again.tasks, again.left_alone), (0, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn import_jsonl(
    repo: &Repo,
    input: impl BufRead + Seek,
    progress: impl FnMut(JsonlProgress),
) -> Result<JsonlProgress> {
    import::import(repo, input, progress)
}
